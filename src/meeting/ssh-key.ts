import { fieldsOf } from '../support/ssh-blob.ts';

/** An SSH public key, as far as it is passed on here: nobody is let in by what this file accepts alone. */
export interface SshKey {
  readonly type: string;
  /** The canonical spelling of its bytes. */
  readonly base64: string;
}

const TYPES: ReadonlySet<string> = new Set([
  'ssh-ed25519',
  'ecdsa-sha2-nistp256',
  'ecdsa-sha2-nistp384',
  'ecdsa-sha2-nistp521',
  'ssh-rsa',
  'sk-ssh-ed25519@openssh.com',
  'sk-ecdsa-sha2-nistp256@openssh.com',
]);

export const isKeyType = (word: string): boolean => TYPES.has(word);

/** Whether two words are type and base64 of one key: the bytes name the same type, and are fields to their end. */
export function isKey(type: string, base64: string): boolean {
  const blob = Buffer.from(base64, 'base64');
  if (!TYPES.has(type) || blob.toString('base64') !== base64) return false;
  const fields = fieldsOf(blob); // RFC 4253 section 6.6: the type, then at least one field
  return fields !== null && fields.length > 1 && fields[0]?.toString('latin1') === type;
}

/**
 * One line `type base64 [comment]`, white space around it aside; null when it is anything else, options or a second
 * line included. The comment is empty when it is no short printable text.
 */
export function parseKeyLine(text: string): (SshKey & { comment: string }) | null {
  const line = text.trim();
  if (/[\r\n]/.test(line)) return null;
  const [type = '', base64 = '', ...rest] = line.split(/[ \t]+/);
  if (!isKey(type, base64)) return null;
  const comment = rest.join(' ');
  return { type, base64, comment: /^[\x20-\x7e]{0,256}$/.test(comment) ? comment : '' };
}

export const isPrivateKey = (text: string): boolean =>
  /-{4,5} ?BEGIN [A-Z0-9 ]*PRIVATE KEY|PuTTY-User-Key-File|^\s*b3BlbnNzaC1rZXktdjE/.test(text);
