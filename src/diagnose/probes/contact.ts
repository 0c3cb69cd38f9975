import { connect } from 'node:net';
import type { Cancel, Clock } from '../../support/clock.ts';
import { systemCode } from '../../support/failures.ts';
import { type Contact, isGreeted } from '../sshd/greeting.ts';

export interface ContactOptions {
  host: string;
  port: number;
  /** The address that the connection comes from; null lets the system choose. */
  from: string | null;
  /** The port that it comes from; where it is left out the system chooses. */
  fromPort?: number;
  timeoutMs: number;
  clock: Clock;
  signal: AbortSignal;
}

/** A client of OpenSSH sends its line at once as well; hosts.deny answers some servers only then. */
const CLIENT_LINE = 'SSH-2.0-zeroforce_diagnose\r\n';
/** Lines may stand before the version line (RFC 4253 section 4.2), and other services say more than one. */
const MORE_MS = 400;
const MAX_BYTES = 8 * 1024;

/** Connects as an SSH client does, and gives what is said until the version line, the end, or the time is over. */
export function contact({ host, port, from, fromPort, timeoutMs, clock, signal }: ContactOptions): Promise<Contact> {
  return new Promise((resolve) => {
    const socket = connect({
      ...{ host, port, noDelay: true },
      ...(from !== null && { localAddress: from }),
      ...(fromPort !== undefined && { localPort: fromPort }),
    });
    let opened = false;
    let bytes = Buffer.alloc(0);
    let cancelMore: Cancel = () => undefined;
    const settle = (result: Contact) => {
      cancel();
      cancelMore();
      signal.removeEventListener('abort', waiting);
      socket.destroy();
      resolve(result);
    };
    const waiting = () => settle(opened ? { kind: 'opened', bytes, end: 'waiting' } : { kind: 'no-answer' });
    const cancel = clock.after(timeoutMs, waiting);
    signal.addEventListener('abort', waiting);
    socket.on('connect', () => {
      opened = true;
      socket.write(CLIENT_LINE);
    });
    socket.on('data', (chunk) => {
      bytes = Buffer.concat([bytes, chunk]).subarray(0, MAX_BYTES);
      if (isGreeted(bytes) || bytes.length === MAX_BYTES) return waiting();
      cancelMore();
      cancelMore = clock.after(MORE_MS, waiting);
    });
    socket.on('end', () => settle({ kind: 'opened', bytes, end: 'closed' }));
    socket.on('error', (error) => {
      const code = systemCode(error) ?? 'unknown';
      if (opened) settle({ kind: 'opened', bytes, end: 'reset' });
      else settle(code === 'ECONNREFUSED' ? { kind: 'refused' } : { kind: 'failed', code });
    });
  });
}
