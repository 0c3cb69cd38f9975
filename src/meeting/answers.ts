import { Failure } from '../support/failures.ts';
import { isKey, parseKeyLine, type SshKey } from './ssh-key.ts';

// What the Meeting API answers, from text to typed values (wire 2). Every function throws Failure `meeting.api-answer`
// when the text is something else; what it was stands beside it, the caller adds that.

export interface HeartbeatAnswer {
  /** From where the server saw us. */
  readonly ipAddress: string | null;
  /** The server's time in ISO 8601, null when it could not be read: nothing depends on it. */
  readonly lastSeen: string | null;
}

export interface DeviceAnswer {
  readonly authorized: boolean;
  /** Service name, in lower case, to whether it is enabled; null when the server says nothing about services. */
  readonly services: Readonly<Record<string, boolean>> | null;
}

export type Availability = 'available' | 'disconnected' | 'unknown';

const MAX_SERVICES = 64;
const SERVICE_NAME = /^[a-z0-9][a-z0-9_.-]{0,31}$/;
const ADDRESS = /^(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F]{0,4}:[0-9a-fA-F:.]{1,42})$/;
const TIME = /^(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.\d{1,9})?Z?$/; // UTC, without a zone

export function readHeartbeat(text: string): HeartbeatAnswer {
  const { ok, ip_address: ipAddress, last_seen: lastSeen } = objectIn(text);
  if (truth(ok) !== true) fault('does not say that it is ok');
  const [, day, time] = (typeof lastSeen === 'string' && TIME.exec(lastSeen)) || [];
  return {
    ipAddress: typeof ipAddress === 'string' && ADDRESS.test(ipAddress) ? ipAddress : null,
    lastSeen: day === undefined ? null : `${day}T${time}Z`,
  };
}

export function readDevice(text: string): DeviceAnswer {
  const fields = objectIn(text);
  const authorized = truth(fields.authorized);
  if (authorized === null) fault('does not say by true, false, 1 or 0 whether the device is authorized');
  return { authorized, services: servicesIn(fields.services) };
}

export function readAvailability(text: string): Availability {
  const { status } = objectIn(text);
  const word = typeof status === 'string' ? status.toLowerCase() : null;
  if (word === 'available' || word === 'disconnected' || word === 'unknown') return word;
  return fault('has no status Available, Disconnected or Unknown');
}

export function readKeyTaken(text: string): void {
  if (truth(objectIn(text).success) !== true) fault('does not say that the key was taken');
}

/** The one key of the server, without what else may stand in the line: a server gives itself no options. */
export function readServerKey(text: string): SshKey {
  const key = parseKeyLine(text);
  if (key === null) return fault('is not one line with an SSH public key, type and base64');
  return { type: key.type, base64: key.base64 };
}

export interface HostKeyLine {
  /** As they stand in the line: plain, patterns or hashed. */
  readonly names: readonly string[];
  readonly key: SshKey;
}

const MAX_HOST_KEYS = 64;
const NAMES_MAX_CHARACTERS = 1024;
/** A word that can be the name of a key type; ssh passes over those that it does not know, and so do we. */
const TYPE_WORD = /^[a-z][a-z0-9@.-]{2,63}$/;

/**
 * The lines of a known_hosts file (sshd(8)). Markers are refused with all that comes with them: an authority is more
 * than a host key, and a revocation that was passed over in silence would leave the key trusted.
 */
export function readHostKeys(text: string): HostKeyLine[] {
  const lines: HostKeyLine[] = [];
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.trim();
    const where = `in line ${index + 1}`;
    if (line === '' || line.startsWith('#')) continue;
    if (line.startsWith('@')) fault(`has a marker ${where}; only plain host keys are taken`);
    const [names = '', type = '', base64 = ''] = line.split(/[ \t]+/);
    if (!TYPE_WORD.test(type) || base64 === '') fault(`is no line of known_hosts ${where}`);
    if (!/^[\x21-\x7e]+$/.test(names) || names.length > NAMES_MAX_CHARACTERS) fault(`has no host names ${where}`);
    if (!isKey(type, base64)) {
      if (/^(?:ssh-ed25519|ssh-rsa|ecdsa-|sk-)/.test(type)) fault(`has a broken key ${where}`);
      continue;
    }
    if (lines.length === MAX_HOST_KEYS) fault(`has more than ${MAX_HOST_KEYS} host keys`);
    lines.push({ names: names.split(','), key: { type, base64 } });
  }
  return lines;
}

/** A list of names, a map from name to bool, or a list of {name or type, enabled}. */
function servicesIn(value: unknown): DeviceAnswer['services'] {
  if (value === undefined || value === null) return null;
  if (typeof value !== 'object') return fault('has services that are neither a list nor a map');
  const entries: [unknown, unknown][] = Array.isArray(value)
    ? value.map((item: unknown) => serviceIn(item))
    : Object.entries(value);
  if (entries.length > MAX_SERVICES) fault(`has more than ${MAX_SERVICES} services`);
  return Object.fromEntries(
    entries.map(([name, enabled]) => {
      const word = typeof name === 'string' ? name.toLowerCase() : '';
      if (!SERVICE_NAME.test(word)) fault('has a service without a usable name');
      return [word, truth(enabled) ?? fault(`does not say by true or false whether ${word} is enabled`)];
    }),
  );
}

function serviceIn(item: unknown): [unknown, unknown] {
  if (typeof item !== 'object' || item === null) return [item, true];
  const { name, type, enabled = true } = item as Record<string, unknown>;
  return [name ?? type, enabled];
}

function objectIn(text: string): Record<string, unknown> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    fault(/^\s*</.test(text) ? 'is a page for people, not JSON' : 'is not JSON');
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) fault('is JSON, but not an object');
  return parsed as Record<string, unknown>;
}

const truth = (value: unknown): boolean | null =>
  value === true || value === 1 ? true : value === false || value === 0 ? false : null;

function fault(what: string): never {
  throw new Failure('meeting.api-answer', `the answer ${what}`);
}
