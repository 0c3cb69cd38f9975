import { cleanText } from '../../support/text.ts';

/** What answered a client that speaks SSH. */
export type Answer =
  | { kind: 'ssh'; banner: string }
  /** sshd, and it lets nobody more in for now: `Exceeded MaxStartups`, `Not allowed at this time`. */
  | { kind: 'full'; said: string }
  | { kind: 'other'; what: string };

const SHOWN_CHARACTERS = 60;

/** Tells by its first bytes what answered on a port. */
export function recognise(firstBytes: Uint8Array): Answer {
  const text = Buffer.from(firstBytes).toString('latin1');
  const line = cleanText(text.split('\n', 1)[0] ?? '', SHOWN_CHARACTERS);
  if (text.startsWith('SSH-')) return { kind: 'ssh', banner: cleanText(text.split('\n', 1)[0] ?? '', 255) };
  if (/^(?:Exceeded MaxStartups|Not allowed at this time)/.test(text)) return { kind: 'full', said: line };
  const known = KNOWN.find(([start]) => start.test(text));
  return { kind: 'other', what: known?.[1] ?? `something that says "${line}"` };
}

const KNOWN: readonly (readonly [RegExp, string])[] = [
  [/^HTTP\//, 'a web server'],
  [/^<(?:!doctype|html)/i, 'a web server'],
  [/^[\x15\x16]\x03/, 'a server that speaks TLS'],
  [/^RFB \d/, 'a VNC server'],
  [/^RTSP\//, 'an RTSP server'],
  [/^220[ -]/, 'a mail or FTP server'],
  [/^\xff[\xfb-\xfe]/, 'a telnet server'],
];
