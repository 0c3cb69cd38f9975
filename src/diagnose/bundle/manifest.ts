/** A file of the bundle that is ready to be written. */
export interface Entry {
  readonly name: string;
  readonly about: string;
  readonly text: string;
  /** What was to be in it and could not be had, a sentence each. */
  readonly lacks: readonly string[];
}

const TAKEN_OUT = `Taken out, and replaced by [secret] or [private key]: tokens, passwords, PINs and what is kept of them, private keys,
in whatever file or log line they stood, as they are, in base64, in hex, or written for a URL or JSON. Not collected:
files of keys and tokens, the network's Wi-Fi keys, the arguments of programs that are neither ours nor of SSH, and
comments in configuration files. Of keys that may log in there are fingerprints only.

Left in, since support needs it: the device key, host names and addresses, users and paths.
Look through it before you send it: nobody can recognise every secret that somebody has written somewhere.`;

/** The table of contents, in words. */
export function manifestText(
  entries: readonly Entry[],
  { device, version, writtenAt, isRoot }: { device: string; version: string; writtenAt: string; isRoot: boolean },
): string {
  const width = Math.max(...entries.map(({ name }) => name.length));
  const rows = entries
    .filter(({ text }) => text !== '')
    .map(
      ({ name, about, text }) => `  ${name.padEnd(width)}  ${String(Buffer.byteLength(text)).padStart(7)}  ${about}`,
    );
  const lacks = entries.flatMap(({ name, lacks: each }) => each.map((sentence) => `  ${name}: ${sentence}`));
  return [
    `What support needs to know of ${device}, written by zeroforce ${version} at ${writtenAt}`,
    ...(isRoot ? [] : ['by a user who may not look at everything: run it as root for the rest']),
    '',
    'In it, with the size in bytes:',
    ...rows,
    '',
    'Could not be had:',
    ...(lacks.length === 0 ? ['  nothing is missing'] : lacks),
    '',
    TAKEN_OUT,
    '',
  ].join('\n');
}

/** The text within so many bytes: its beginning, or its end, in whole lines, and a line that says so. */
export function cut(text: string, maxBytes: number, keep: 'start' | 'end'): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= maxBytes) return text;
  const left = `[${bytes.length - maxBytes} bytes left out]`;
  if (keep === 'start') {
    const part = bytes.subarray(0, maxBytes).toString('utf8');
    return `${part.slice(0, Math.max(0, part.lastIndexOf('\n')))}\n${left}\n`;
  }
  const part = bytes.subarray(bytes.length - maxBytes).toString('utf8');
  return `${left}\n${part.slice(part.indexOf('\n') + 1)}`;
}
