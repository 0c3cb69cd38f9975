import { connect, isIP } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import type { Clock } from '../../support/clock.ts';
import { systemCode } from '../../support/failures.ts';

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

/** Whether somebody there answers a greeting of TLS with TLS, whatever the certificate. Nothing else is said to them. */
export function speaksTls(host: string, port: number, timeoutMs: number, clock: Clock): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = tlsConnect({ host, port, rejectUnauthorized: false, ...(isIP(host) === 0 && { servername: host }) });
    const settle = (spoken: boolean) => {
      cancel();
      socket.destroy();
      resolve(spoken);
    };
    const cancel = clock.after(timeoutMs, () => settle(false));
    socket.once('secureConnect', () => settle(true));
    // An alert is TLS, too: it may want a certificate of ours.
    socket.once('error', (error) => settle(/ALERT/.test(systemCode(error) ?? '')));
  });
}
