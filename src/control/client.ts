import { request } from 'node:http';
import { join } from 'node:path';
import { asFailure, Failure, systemCode } from '../support/failures.ts';

/** The socket's name in the run folder. */
export const CONTROL_SOCKET = 'control.sock';

/** A healthy service answers in milliseconds; one that hangs must not hang its questioner. */
const TIMEOUT_MS = 5_000;
/** Far more than a status needs. */
const MAX_ANSWER_BYTES = 1_048_576;

/**
 * Asks the running service, `GET path`, and gives its JSON answer.
 * @throws Failure `service.not-running`, with the reason where the socket exists but cannot be used
 */
export function requestControl(runDir: string, path: string): Promise<unknown> {
  const socketPath = join(runDir, CONTROL_SOCKET);
  return new Promise((resolve, reject) => {
    const call = request({ socketPath, path, timeout: TIMEOUT_MS }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
        if (text.length > MAX_ANSWER_BYTES) call.destroy(new Error('the answer is too long'));
      });
      response.on('error', (error) => reject(asFailure(error)));
      response.on('end', () => {
        try {
          if (response.statusCode !== 200) throw new Error(`the service answered ${response.statusCode}`);
          resolve(JSON.parse(text));
        } catch (error) {
          reject(asFailure(error));
        }
      });
    });
    call.on('timeout', () => call.destroy(new Error(`the service did not answer within ${TIMEOUT_MS} ms`)));
    call.on('error', (error) => reject(connectFailure(error, socketPath)));
    call.end();
  });
}

function connectFailure(error: Error, socketPath: string): Failure {
  const code = systemCode(error);
  if (code === 'ENOENT' || code === 'ECONNREFUSED') {
    return new Failure('service.not-running', `no service answers at ${socketPath}`, { cause: error });
  }
  if (code === 'EACCES') {
    return new Failure('service.not-permitted', `this user may not use ${socketPath}`, { cause: error });
  }
  return asFailure(error);
}
