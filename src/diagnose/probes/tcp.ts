import { connect } from 'node:net';
import type { Clock } from '../../support/clock.ts';

/** Whether somebody accepts connections there, within the time. Nothing is said to them. */
export function accepts(host: string, port: number, timeoutMs: number, clock: Clock): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const settle = (accepted: boolean) => {
      cancel();
      socket.destroy();
      resolve(accepted);
    };
    const cancel = clock.after(timeoutMs, () => settle(false));
    socket.once('connect', () => settle(true));
    socket.once('error', () => settle(false));
  });
}
