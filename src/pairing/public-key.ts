import sshpk from 'sshpk';
import { Failure } from '../support/failures.ts';
import { fingerprintOf } from '../support/ssh-blob.ts';
import { type KeyLine, parseKeyLine } from '../support/ssh-key-line.ts';

/** An OpenSSH public key that has been checked to its last byte. */
export interface PublicKey extends KeyLine {
  /** `SHA256:…`, as `ssh-keygen -l` prints it. */
  readonly fingerprint: string;
}

/**
 * Parses one line `type base64 [comment]`; white space around it is ignored (pairing: key file).
 *
 * sshpk alone is not enough: it accepts short ed25519 keys, points off the curve, bytes after the key and several
 * lines, and knows no sk-* type. So the blob is walked first, exactly, and sshpk is a second opinion on what passed.
 *
 * @throws Failure `key.invalid`, whose sentence says what is wrong and repeats nothing of the text: it may be a
 *   private key, pasted by mistake.
 */
export function parsePublicKey(text: string): PublicKey {
  const key = parseKeyLine(text);
  if (key.type.startsWith('sk-')) return { ...key, fingerprint: fingerprintOf(key.blob) };
  const parsed = sshpk.parseKey(key.blob, 'rfc4253');
  if (parsed.size !== key.bits) throw new Failure('key.invalid', 'the size of the key is not clear');
  return { ...key, fingerprint: parsed.fingerprint('sha256').toString() };
}
