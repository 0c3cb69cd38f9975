import { request } from 'node:http';
import { join } from 'node:path';
import { FAILURES, Failure, type FailureCode, systemCode } from '../support/failures.ts';

/** The socket's name in the run folder. */
export const CONTROL_SOCKET = 'control.sock';

/** A healthy service answers in milliseconds; one that hangs must not hang its questioner. */
const TIMEOUT_MS = 5_000;
/** Far more than a status needs. */
const MAX_ANSWER_BYTES = 1_048_576;

/**
 * Asks the running service, `route` being for example `GET /status`, and gives its JSON answer, within
 * `timeoutMs` whatever is at the socket.
 *
 * @throws Failure the one that the service named; or `service.not-running`, `service.not-permitted`, or
 * `service.no-answer` where something is there that does not answer as a service does
 */
export async function requestControl(
  runDir: string,
  route: string,
  {
    body,
    socketName = CONTROL_SOCKET,
    timeoutMs = TIMEOUT_MS,
  }: { body?: unknown; socketName?: string; timeoutMs?: number } = {},
): Promise<unknown> {
  const socketPath = join(runDir, socketName);
  try {
    const { status, text } = await ask(socketPath, route, body === undefined ? '' : JSON.stringify(body), timeoutMs);
    if (status === 200) return JSON.parse(text);
    throw namedFailure(text) ?? new Error(`it answered ${status}`);
  } catch (error) {
    throw error instanceof Failure ? error : requestFailure(error, socketPath);
  }
}

function ask(
  socketPath: string,
  route: string,
  body: string,
  timeoutMs: number,
): Promise<{ status: number; text: string }> {
  const [method, path] = route.split(' ');
  return new Promise((resolve, reject) => {
    // No agent: a connection that is kept leads to who was at the socket, not to who is.
    const call = request({ socketPath, method, path, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
        if (text.length > MAX_ANSWER_BYTES) call.destroy(new Error('the answer is too long'));
      });
      response.on('error', reject);
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
    });
    // Of the whole exchange: a socket's own timeout starts anew with every byte.
    const deadline = setTimeout(() => call.destroy(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    call.on('close', () => clearTimeout(deadline));
    call.on('error', reject);
    call.end(body);
  });
}

/** The failure that the service named; null where it named none that this version knows. */
function namedFailure(text: string): Failure | null {
  try {
    const { code, sentence } = JSON.parse(text) as { code?: unknown; sentence?: unknown };
    if (typeof code !== 'string' || !Object.hasOwn(FAILURES, code)) return null;
    return new Failure(code as FailureCode, String(sentence));
  } catch {
    return null; // no JSON object
  }
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
