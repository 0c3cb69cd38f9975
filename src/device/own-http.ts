import { request } from 'node:http';
import type { Clock } from '../support/clock.ts';

const ALL_ADDRESSES: Readonly<Record<string, string>> = { '::': '::1', '0.0.0.0': '127.0.0.1' };

/**
 * Whether our own HTTP takes a connection and then says nothing. Nothing else counts: a firewall, a taken port, or too
 * many open files are no better after a restart.
 */
export function isSilent(
  { host, port }: { host: string; port: number },
  limitMs: number,
  clock: Clock,
): Promise<boolean> {
  return new Promise((resolve) => {
    const asked = request({ host: ALL_ADDRESSES[host] ?? host, port, method: 'HEAD', path: '/healthz', agent: false });
    let isConnected = false;
    const end = (silent: boolean) => {
      cancel();
      asked.destroy();
      resolve(silent);
    };
    // In two halves: where this process itself was held up for longer than the limit, the answer lies there between them.
    let cancel = clock.after(limitMs / 2, () => {
      cancel = clock.after(limitMs / 2, () => end(isConnected));
    });
    asked.once('socket', (socket) => socket.once('connect', () => (isConnected = true)));
    asked.once('response', () => end(false));
    asked.on('error', () => end(false));
    asked.end();
  });
}
