import { fieldsOf } from './ssh-blob.ts';

const KEY = /^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)) ([A-Za-z0-9+/]+={0,2})(?: [^\n]*)?\n?$/;

/** `type base64`, without a comment; null when it is no host key, or not the whole of one. */
export function normalHostKey(text: string): string | null {
  const [, type = '', base64 = ''] = KEY.exec(text) ?? [];
  const [name, ...fields] = fieldsOf(Buffer.from(base64, 'base64')) ?? [];
  return fields.length > 0 && name?.toString('latin1') === type ? `${type} ${base64}` : null;
}
