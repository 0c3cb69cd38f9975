import { fieldsOf } from '../../support/ssh-blob.ts';
import { hostInList, type Source } from './patterns.ts';

/** A line of an authorized keys file that holds a key. */
export interface AuthorizedKey {
  readonly type: string;
  /** By name in lower case; an option without a value has none. One may stand several times. */
  readonly options: readonly { readonly name: string; readonly value: string | null }[];
  /** Base64, as it stands there. */
  readonly key: string;
}

const TYPE =
  /^(?:ssh-ed25519|ssh-rsa|ssh-dss|ecdsa-sha2-nistp(?:256|384|521)|sk-(?:ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)$/;

/** The keys of a file, options passed over as sshd does; what is no key is left out. Pure. */
export function authorizedKeys(text: string): AuthorizedKey[] {
  return text.split('\n').flatMap((line) => {
    const words = line.replaceAll('\t', ' ').trim();
    if (words.startsWith('#')) return [];
    const bare = keyIn(words);
    if (bare !== null) return [{ ...bare, options: [] }];
    const end = findOutside(words, ' ', 0);
    const key = keyIn(words.slice(end).trim());
    return key === null ? [] : [{ ...key, options: optionsIn(words.slice(0, end)) }];
  });
}

function keyIn(words: string): { type: string; key: string } | null {
  const [type = '', key = ''] = words.split(/ +/);
  if (!TYPE.test(type)) return null;
  const [name] = fieldsOf(Buffer.from(key, 'base64')) ?? [];
  return name?.toString('latin1') === type ? { type, key } : null;
}

/** Where the first of this character outside of double quotes is, or the end. */
function findOutside(text: string, character: string, from: number): number {
  let quoted = false;
  for (let at = from; at < text.length; at += 1) {
    if (text[at] === '\\' && text[at + 1] === '"') at += 1;
    else if (text[at] === '"') quoted = !quoted;
    else if (text[at] === character && !quoted) return at;
  }
  return text.length;
}

/** In one pass: the owner of the file may have made it long. What is neither `name` nor `name="value"` is left out. */
function optionsIn(text: string): AuthorizedKey['options'] {
  const found: { name: string; value: string | null }[] = [];
  for (let at = 0; at < text.length; ) {
    const end = findOutside(text, ',', at);
    const [, name, value] = /^([^="]+)(?:="(.*)")?$/s.exec(text.slice(at, end)) ?? [];
    if (name !== undefined) found.push({ name: name.toLowerCase(), value: value?.replaceAll('\\"', '"') ?? null });
    at = end + 1;
  }
  return found;
}

/** Whether the key may be used from there: `from="LIST"`. */
export function isAllowedFrom({ options }: AuthorizedKey, source: Source): boolean {
  return options.every(({ name, value }) => name !== 'from' || value === null || hostInList(source, value));
}

/** What a key says of forwarding from the client to this machine. */
export interface KeyForwarding {
  readonly allowed: boolean;
  /** The targets it is restricted to, as they are written; null for no restriction. */
  readonly permitOpen: readonly string[] | null;
}

/** Read from the left: `restrict` takes everything, a later `port-forwarding` gives it back. */
export function forwardingOf({ options }: AuthorizedKey): KeyForwarding {
  let allowed = true;
  for (const { name } of options) {
    if (name === 'restrict' || name === 'no-port-forwarding') allowed = false;
    if (name === 'port-forwarding') allowed = true;
  }
  const targets = options.flatMap(({ name, value }) => (name === 'permitopen' && value !== null ? [value] : []));
  return { allowed, permitOpen: targets.length === 0 ? null : targets };
}
