import { createHash } from 'node:crypto';

// A public key as SSH sends it (RFC 4253 section 6.6): the name of its type, and what else the type has.

/** Its fields, each with its length in front (RFC 4251 section 5, `string`); null where one is cut. */
export function fieldsOf(blob: Buffer): Buffer[] | null {
  const fields: Buffer[] = [];
  for (let at = 0; at < blob.length; ) {
    if (blob.length - at < 4) return null;
    const start = at + 4;
    at = start + blob.readUInt32BE(at);
    if (at > blob.length) return null;
    fields.push(blob.subarray(start, at));
  }
  return fields;
}

/** `SHA256:…`, as ssh-keygen prints it. */
export function fingerprintOf(blob: Buffer): string {
  return `SHA256:${createHash('sha256').update(blob).digest('base64').replace(/=+$/, '')}`;
}
