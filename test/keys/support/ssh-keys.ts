import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Makes a real pair with ssh-keygen and gives its two texts. */
export function generateKey(
  folder: string,
  type: 'ed25519' | 'ecdsa' | 'rsa',
  bits?: number,
  comment = `${type}${bits ?? ''}@test`,
): { publicLine: string; privateText: string; path: string } {
  const path = join(folder, `id_${type}${bits ?? ''}_${Math.random().toString(36).slice(2)}`);
  const size = bits === undefined ? [] : ['-b', String(bits)];
  execFileSync('ssh-keygen', ['-q', '-t', type, ...size, '-N', '', '-C', comment, '-f', path]);
  return { publicLine: readFileSync(`${path}.pub`, 'utf8').trim(), privateText: readFileSync(path, 'utf8'), path };
}

/** What `ssh-keygen -l` says of each line it accepts: the size in bits and the fingerprint. */
export function fingerprintsBySshKeygen(folder: string, lines: readonly string[]): { bits: number; hash: string }[] {
  const path = join(folder, `lines_${Math.random().toString(36).slice(2)}`);
  writeFileSync(path, lines.map((line) => `${line}\n`).join(''));
  const output = execFileSync('ssh-keygen', ['-l', '-f', path], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return output
    .trim()
    .split('\n')
    .map((line) => {
      const [bits = '', hash = ''] = line.split(' ');
      return { bits: Number(bits), hash };
    });
}

/** One length-prefixed field (RFC 4251 section 5). */
export function field(value: string | Uint8Array): Buffer {
  const bytes = Buffer.from(value);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

/** The fields of a blob, split apart. */
export function fieldsOf(blob: Buffer): Buffer[] {
  const fields: Buffer[] = [];
  for (let at = 0; at < blob.length; ) {
    const end = at + 4 + blob.readUInt32BE(at);
    fields.push(blob.subarray(at + 4, end));
    at = end;
  }
  return fields;
}

/** A key line of any fields, sound or not. */
export function keyLine(type: string, fields: readonly (string | Uint8Array)[], comment = 'made@test'): string {
  return encodedLine(type, Buffer.concat([field(type), ...fields.map(field)]), comment);
}

export function encodedLine(type: string, blob: Uint8Array, comment = 'made@test'): string {
  return `${type} ${Buffer.from(blob).toString('base64')} ${comment}`.trim();
}

export function blobOf(line: string): Buffer {
  return Buffer.from(line.split(' ')[1] ?? '', 'base64');
}
