const KEY = /^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)) ([A-Za-z0-9+/]+={0,2})(?: [^\n]*)?\n?$/;

/** `type base64`, without a comment; null when it is no host key, or not the whole of one. */
export function normalHostKey(text: string): string | null {
  const [, type = '', base64 = ''] = KEY.exec(text) ?? [];
  const [name, ...fields] = fieldsOf(Buffer.from(base64, 'base64')) ?? [];
  return fields.length > 0 && name?.toString('latin1') === type ? `${type} ${base64}` : null;
}

/** The fields of a key, each with its length in front (RFC 4251 5, `string`); null where one is cut. */
function fieldsOf(blob: Buffer): Buffer[] | null {
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
