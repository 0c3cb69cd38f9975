import { request } from 'node:http';
import { join } from 'node:path';
import { Failure, systemCode } from '../support/failures.ts';

/** The socket's name in the run folder. */
export const CONTROL_SOCKET = 'control.sock';

/** A healthy service answers in milliseconds; one that hangs must not hang its questioner. */
const TIMEOUT_MS = 5_000;
/** Far more than a status needs. */
const MAX_ANSWER_BYTES = 1_048_576;

/**
 * Asks the running service, `GET path`, and gives its JSON answer, within TIMEOUT_MS whatever is at the socket.
 * @throws Failure `service.not-running`, `service.not-permitted`, or `service.no-answer` where something is there that
 * does not answer as a service does
 */
export async function requestControl(runDir: string, path: string, socketName = CONTROL_SOCKET): Promise<unknown> {
  const socketPath = join(runDir, socketName);
  try {
    return JSON.parse(await get(socketPath, path));
  } catch (error) {
    throw requestFailure(error, socketPath);
  }
}

function get(socketPath: string, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    // No agent: a connection that is kept leads to who was at the socket, not to who is.
    const call = request({ socketPath, path, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
        if (text.length > MAX_ANSWER_BYTES) call.destroy(new Error('the answer is too long'));
      });
      response.on('error', reject);
      response.on('end', () => {
        if (response.statusCode === 200) resolve(text);
        else reject(new Error(`it answered ${response.statusCode}`));
      });
    });
    // Of the whole exchange: a socket's own timeout starts anew with every byte.
    const deadline = setTimeout(() => call.destroy(new Error(`no answer within ${TIMEOUT_MS} ms`)), TIMEOUT_MS);
    call.on('close', () => clearTimeout(deadline));
    call.on('error', reject);
    call.end();
  });
}

function requestFailure(error: unknown, socketPath: string): Failure {
  const code = systemCode(error);
  if (code === 'ENOENT' || code === 'ECONNREFUSED') {
    return new Failure('service.not-running', `no service answers at ${socketPath}`, { cause: error });
  }
  if (code === 'EACCES') {
    return new Failure('service.not-permitted', `this user may not use ${socketPath}`, { cause: error });
  }
  const why = error instanceof Error ? error.message : String(error);
  return new Failure('service.no-answer', `what listens at ${socketPath} does not answer as a service: ${why}`, {
    cause: error,
  });
}
