import { generateKeyPairSync } from 'node:crypto';

/** A new ed25519 public key as OpenSSH writes it, no line end (RFC 8709 section 4). */
export function freshKeyLine(comment = 'addon@homeassistant'): string {
  const { x = '' } = generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' });
  const type = 'ssh-ed25519';
  const blob = Buffer.concat([field(Buffer.from(type)), field(Buffer.from(x, 'base64url'))]);
  return `${type} ${blob.toString('base64')} ${comment}`;
}

/** A new RSA-4096 key, what the deployed add-on has: its base64 is sure to hold + and /. */
export function freshRsaKeyLine(comment = 'root@a0d7b954-beamer'): string {
  const { n = '', e = '' } = generateKeyPairSync('rsa', { modulusLength: 4096 }).publicKey.export({ format: 'jwk' });
  const type = 'ssh-rsa';
  const modulus = Buffer.concat([Buffer.alloc(1), Buffer.from(n, 'base64url')]); // the sign bit, RFC 4251 section 5
  const blob = Buffer.concat([field(Buffer.from(type)), field(Buffer.from(e, 'base64url')), field(modulus)]);
  return `${type} ${blob.toString('base64')} ${comment}`;
}

function field(bytes: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
