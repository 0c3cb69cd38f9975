import { cleanText } from '../../support/text.ts';

/** What became of a connection to a port, with the version line of a client sent. */
export type Contact =
  | { readonly kind: 'refused' }
  /** It could not be opened for another reason: the system's code. */
  | { readonly kind: 'failed'; readonly code: string }
  /** Not opened in time: nobody has answered at all. */
  | { readonly kind: 'no-answer' }
  /** Opened, with what was said; `end` is how it went on. */
  | { readonly kind: 'opened'; readonly bytes: Buffer; readonly end: 'closed' | 'reset' | 'waiting' };

/** The same, understood. */
export type Greeting =
  | { readonly kind: 'refused' }
  | { readonly kind: 'failed'; readonly code: string }
  | { readonly kind: 'no-answer' }
  /** Its version line; `before` is what it said before that. */
  | { readonly kind: 'ssh'; readonly banner: string; readonly before: string }
  | { readonly kind: 'closed'; readonly how: 'closed' | 'reset' }
  | { readonly kind: 'silent' }
  /** sshd says that too many strangers are connected. */
  | { readonly kind: 'full'; readonly said: string }
  /** sshd shuts this source out for a while (PerSourcePenalties). */
  | { readonly kind: 'punished'; readonly said: string }
  | { readonly kind: 'other'; readonly service: string; readonly said: string };

/** Whether more bytes would change nothing. */
export function isGreeted(bytes: Buffer): boolean {
  return /^SSH-[^\n]*\n/m.test(bytes.toString('latin1'));
}

/** Pure. */
export function understand(contact: Contact): Greeting {
  if (contact.kind !== 'opened') return contact;
  const { bytes, end } = contact;
  const text = bytes.toString('latin1');
  const said = cleanText(text, 80);
  const banner = /^SSH-[^\r\n]*/m.exec(text);
  if (banner !== null)
    return { kind: 'ssh', banner: cleanText(banner[0], 120), before: cleanText(text.slice(0, banner.index), 80) };
  if (/^Exceeded MaxStartups/m.test(text)) return { kind: 'full', said };
  if (/^Not allowed at this time/m.test(text)) return { kind: 'punished', said };
  if (bytes.length > 0) return { kind: 'other', service: serviceOf(text), said };
  return end === 'waiting' ? { kind: 'silent' } : { kind: 'closed', how: end };
}

const SERVICES: readonly (readonly [RegExp, string])[] = [
  [/^HTTP\/\d|^<(?:!doctype html|html|\?xml)/i, 'a web server (HTTP)'],
  [/^[\u0014-\u0017]\u0003[\u0000-\u0004]/, 'a TLS server'],
  [/^RTSP\/\d/, 'a camera or video server (RTSP)'],
  [/^220[ -].*(?:SMTP|mail)/i, 'a mail server (SMTP)'],
  [/^220[ -]/, 'an FTP server'],
  [/^\+OK/, 'a mail server (POP3)'],
  [/^\* OK/, 'a mail server (IMAP)'],
  [/^RFB \d/, 'a VNC server'],
  [/^\u00ff[\u00fb-\u00fe]/, 'a telnet server'],
  [/^.\u0000\u0000\u0000\n/s, 'a MySQL server'],
  [/^-ERR/, 'a Redis server'],
];

function serviceOf(text: string): string {
  return SERVICES.find(([pattern]) => pattern.test(text))?.[1] ?? 'another service';
}

/** For an evidence: `SSH-2.0-OpenSSH_9.2`, `connection refused`. */
export function wordsFor(greeting: Greeting): string {
  switch (greeting.kind) {
    case 'ssh':
      return greeting.before === '' ? greeting.banner : `${greeting.banner} (after: ${greeting.before})`;
    case 'refused':
      return 'connection refused';
    case 'failed':
      return `not opened: ${greeting.code}`;
    case 'no-answer':
      return 'no answer to the connection';
    case 'closed':
      return greeting.how === 'reset' ? 'accepted, then reset without a word' : 'accepted, then closed without a word';
    case 'silent':
      return 'accepted, then silence';
    case 'full':
    case 'punished':
    case 'other':
      return `it said: ${greeting.said}`;
  }
}
