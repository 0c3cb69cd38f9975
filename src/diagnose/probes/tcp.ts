import { connect } from 'node:net';
import type { Clock } from '../../support/clock.ts';
import { systemCode } from '../../support/failures.ts';

/** What came of a connection from this machine, within the time. */
export type Greeting =
  | { kind: 'answered'; firstBytes: Buffer }
  /** The code of the system: ECONNREFUSED, EHOSTUNREACH, ENOTFOUND, … */
  | { kind: 'failed'; code: string }
  | { kind: 'timeout' }
  /** Accepted, and closed before a word. */
  | { kind: 'closed'; reset: boolean }
  /** Accepted, and no word within the time. */
  | { kind: 'silent' };

export interface GreetOptions {
  host: string;
  port: number;
  /** Sent as soon as the connection stands; null to end with that. */
  greeting: string | null;
  timeoutMs: number;
  clock: Clock;
  signal: AbortSignal;
}

/** Connects as any client does, says a greeting, and gives what comes back first. */
export function greet({ host, port, greeting, timeoutMs, clock, signal }: GreetOptions): Promise<Greeting> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    let connected = false;
    const settle = (result: Greeting) => {
      cancel();
      signal.removeEventListener('abort', late);
      socket.destroy();
      resolve(result);
    };
    const late = () => settle({ kind: connected ? 'silent' : 'timeout' });
    const cancel = clock.after(timeoutMs, late);
    signal.addEventListener('abort', late);
    socket.on('error', (error) => {
      const code = systemCode(error) ?? error.message;
      settle(connected ? { kind: 'closed', reset: true } : { kind: 'failed', code });
    });
    socket.once('connect', () => {
      connected = true;
      if (greeting === null) settle({ kind: 'silent' });
      else socket.write(greeting);
    });
    socket.once('data', (firstBytes) => settle({ kind: 'answered', firstBytes }));
    socket.once('end', () => settle({ kind: 'closed', reset: false }));
  });
}

/** Whether somebody accepts connections there. Nothing is said. */
export async function accepts(host: string, port: number, timeoutMs: number, clock: Clock, signal: AbortSignal) {
  return (await greet({ host, port, greeting: null, timeoutMs, clock, signal })).kind === 'silent';
}
