import { Failure } from '../support/failures.ts';
import { isOwnProbe } from '../support/own-probe.ts';

/** One end of a connection. `address` is what netstat printed: net-tools cuts long ones, BusyBox keeps `::ffff:`. */
export interface End {
  address: string;
  /** null for `*`, the missing peer of a listening socket. */
  port: number | null;
}

export interface Connection {
  local: End;
  remote: End;
  state: string;
}

/** Which end of a connection must carry the port: only this machine's, or any (over loopback both are listed). */
export type CountEnd = 'local' | 'either';

/**
 * Reads what `netstat -tn` of BusyBox or net-tools prints. The two differ in how they write IPv6 and in the width of
 * the columns, so a line is read by its fields and a port by the last colon (pairing: monitor).
 *
 * @throws Failure monitor.netstat-unreadable for text that is no table, or that holds a TCP line which cannot be
 * read: that line might be the tunnel, so "no connections" would be a guess. Other lines are passed over.
 */
export function parseNetstat(text: string): Connection[] {
  let isTable = false;
  const connections: Connection[] = [];
  for (const line of text.split('\n')) {
    const fields = line.trim().split(/\s+/);
    if (fields[0] === 'Proto') isTable = true;
    if (fields[0] !== 'tcp' && fields[0] !== 'tcp6') continue;
    connections.push(parseConnection(fields, line));
    isTable = true;
  }
  if (!isTable) throw unreadable(`netstat printed no table of connections: ${excerpt(text)}`);
  return connections;
}

/** The established connections that have `port` at the local end, or at either end, but for those of `diagnose`. */
export function establishedOn(connections: readonly Connection[], port: number, end: CountEnd): Connection[] {
  return connections.filter(
    ({ state, local, remote }) =>
      state === 'ESTABLISHED' &&
      (local.port === port || (end === 'either' && remote.port === port)) &&
      !isOwnProbe({ local, remote }),
  );
}

function parseConnection(fields: string[], line: string): Connection {
  const [, receiveQueue = '', sendQueue = '', local = '', remote = '', state = ''] = fields;
  const ends = { local: parseEnd(local), remote: parseEnd(remote) };
  const isWhole = /^\d+$/.test(receiveQueue) && /^\d+$/.test(sendQueue) && /^[A-Z][A-Z_0-9]*$/.test(state);
  if (!isWhole || ends.local === null || ends.remote === null) {
    throw unreadable(`netstat printed a TCP line that cannot be read: ${excerpt(line)}`);
  }
  return { local: ends.local, remote: ends.remote, state };
}

function parseEnd(text: string): End | null {
  const colon = text.lastIndexOf(':');
  const port = text.slice(colon + 1);
  if (colon < 1) return null;
  if (port === '*') return { address: text.slice(0, colon), port: null };
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65535) return null;
  return { address: text.slice(0, colon), port: Number(port) };
}

function unreadable(sentence: string): Failure {
  return new Failure('monitor.netstat-unreadable', sentence);
}

/** The start of strange text, quoted and short enough for a log line. */
function excerpt(text: string): string {
  return text.trim() === '' ? 'nothing at all' : JSON.stringify(text.trim().slice(0, 80));
}
