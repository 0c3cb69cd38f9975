import { isIP } from 'node:net';
import { Failure } from '../support/failures.ts';

/** What the user asked for. */
export type Target =
  /** Whatever is found. */
  | { kind: 'any' }
  /** The instance name of a device, or a host name that mDNS knows: one without a dot, or below `.local`. */
  | { kind: 'name'; name: string; tunnelPort: number | null }
  /** Nothing needs to be found. */
  | { kind: 'host'; host: string; tunnelPort: number | null };

/** Letters and digits of any script would be IDNA; nobody calls a device so, and a resolver would not know it. */
const HOST_NAME = /^(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?$/;
const MAX_HOST_LENGTH = 253;
const ZONE = /^[A-Za-z0-9_.-]{1,32}$/;

/**
 * The HOST of the command line: an instance name, a host name, an address, any of the last two with `:PORT` (of the
 * tunnel), an IPv6 address with a port in brackets.
 * @throws Failure `pair.target`
 */
export function parseTarget(text: string | undefined): Target {
  if (text === undefined) return { kind: 'any' };
  const bad = (why: string) => new Failure('pair.target', `${JSON.stringify(text.slice(0, 80))} ${why}`);
  if (text.trim() === '') throw bad('names no device');

  const bracketed = /^\[([^\]]*)\](?::(\d{1,5}))?$/.exec(text);
  if (bracketed !== null) {
    const [, host = '', port] = bracketed;
    if (!isIPv6(host)) throw bad('has no IPv6 address in its brackets');
    return { kind: 'host', host, tunnelPort: portOf(port, bad) };
  }
  if (isIP(text) !== 0 || isIPv6(text)) return { kind: 'host', host: text, tunnelPort: null };

  const [, name = '', port] = /^([^:]+)(?::(\d{1,5}))?$/.exec(text) ?? [];
  const tunnelPort = portOf(port, bad);
  if (isIP(name) !== 0) return { kind: 'host', host: name, tunnelPort };
  if (/^[\d.]+$/.test(name) && name.includes('.')) throw bad('is no IPv4 address');
  if (isHostName(name)) {
    const isFound = (!name.includes('.') && name.toLowerCase() !== 'localhost') || /\.local\.?$/i.test(name);
    return isFound ? { kind: 'name', name, tunnelPort } : { kind: 'host', host: name, tunnelPort };
  }
  // An instance name may be any text, colons included; a leading dash would be an option to somebody.
  if (/^[-[]/.test(text) || Buffer.byteLength(text) > 63 || /[\u0000-\u001f\u007f]/.test(text)) {
    throw bad('is neither a name nor an address');
  }
  return { kind: 'name', name: text, tunnelPort: null };
}

export function isHostName(text: string): boolean {
  return text.length <= MAX_HOST_LENGTH && HOST_NAME.test(text);
}

/** With or without a zone, `fe80::1%eth0`. */
function isIPv6(text: string): boolean {
  const [address = '', zone, ...more] = text.split('%');
  return isIP(address) === 6 && more.length === 0 && (zone === undefined || ZONE.test(zone));
}

function portOf(text: string | undefined, bad: (why: string) => Failure): number | null {
  if (text === undefined) return null;
  const port = Number(text);
  if (port < 1 || port > 65_535) throw bad('has a port that is not between 1 and 65535');
  return port;
}
