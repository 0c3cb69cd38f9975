import type { AccessFile, AccessRule } from './rules.ts';

// Whether libwrap lets somebody in (hosts_access(5), hosts_options(5)), in three values: names of machines and of users
// are asked for elsewhere, and are not known here.

export type Truth = 'yes' | 'no' | 'maybe';

/** A machine at one end of a connection. */
export interface Peer {
  readonly address: string;
  /** Its name; null where it surely has none that counts; undefined where nobody can tell. */
  readonly name: string | null | undefined;
}

export interface Visit {
  /** How the program calls itself: `sshd`. */
  readonly daemon: string;
  readonly client: Peer;
  /** This end. */
  readonly server: Peer;
  /** The words of a file that a pattern names; null where it cannot be read, and none where it is not there. */
  readonly wordsOf: (file: string) => readonly string[] | null;
}

export interface Access {
  readonly granted: Truth;
  /** The rule that decides, or the first of which it is not known; null where none applies. */
  readonly by: AccessRule | null;
}

/** The first rule that matches decides: those of hosts.allow first, then those of hosts.deny. Pure. */
export function accessOf(
  { allow, deny }: { readonly allow: AccessFile; readonly deny: AccessFile },
  visit: Visit,
): Access {
  let doubt: { by: AccessRule; grants: Set<Truth> } | null = null;
  const ends = (by: AccessRule | null, granted: Truth): Access => {
    if (doubt === null || (doubt.grants.size === 1 && doubt.grants.has(granted))) return { granted, by };
    return { granted: 'maybe', by: doubt.by };
  };
  for (const [{ rules }, otherwise] of [
    [allow, 'yes'],
    [deny, 'no'],
  ] as const) {
    for (const rule of rules) {
      const match = both(
        listMatches(rule.daemons, (word) => daemonMatches(word, visit)),
        () => listMatches(rule.clients, (word) => clientMatches(word, visit)),
      );
      if (match === 'no') continue;
      const granted = granting(rule.options) ?? otherwise;
      if (match === 'yes') return ends(rule, granted);
      doubt ??= { by: rule, grants: new Set() };
      doubt.grants.add(granted);
    }
  }
  return deny.broken === null ? ends(null, 'yes') : ends(deny.broken, 'no');
}

const not = (truth: Truth): Truth => (truth === 'maybe' ? truth : truth === 'yes' ? 'no' : 'yes');

function both(a: Truth, b: () => Truth): Truth {
  if (a === 'no') return 'no';
  const other = b();
  return a === 'yes' || other === 'no' ? other : 'maybe';
}

const either = (a: Truth, b: () => Truth): Truth => not(both(not(a), () => not(b())));

/** `a b EXCEPT c EXCEPT d` is `(a or b) except (c except d)`. */
function listMatches(words: readonly string[], matches: (word: string) => Truth): Truth {
  const except = words.findIndex((word) => /^EXCEPT$/i.test(word));
  const own = except < 0 ? words : words.slice(0, except);
  const found = own.reduce<Truth>((truth, word) => either(truth, () => matches(word)), 'no');
  return except < 0 ? found : both(found, () => not(listMatches(words.slice(except + 1), matches)));
}

/** `sshd`, or `sshd@127.0.0.1` for those who come to that address. */
function daemonMatches(word: string, { daemon, server, wordsOf }: Visit): Truth {
  const at = word.indexOf('@', 1);
  if (at < 0) return textMatches(word, daemon);
  return both(textMatches(word.slice(0, at), daemon), () => peerMatches(word.slice(at + 1), server, wordsOf));
}

/** A machine, or `user@machine`, whose user only a program there could tell. */
function clientMatches(word: string, { client, wordsOf }: Visit): Truth {
  const at = word.indexOf('@', 1);
  if (at < 0) return peerMatches(word, client, wordsOf);
  const user = (): Truth => (/^ALL$/i.test(word.slice(0, at)) ? 'yes' : 'maybe');
  return both(peerMatches(word.slice(at + 1), client, wordsOf), user);
}

const MAX_FILES_DEEP = 8;

function peerMatches(word: string, peer: Peer, wordsOf: Visit['wordsOf'], depth = 0): Truth {
  const { address, name } = peer;
  if (word.startsWith('@')) return 'maybe'; // a netgroup
  if (word.startsWith('/')) {
    const inner = depth < MAX_FILES_DEEP ? wordsOf(word) : null;
    return inner === null
      ? 'maybe'
      : inner.reduce<Truth>((truth, each) => either(truth, () => peerMatches(each, peer, wordsOf, depth + 1)), 'no');
  }
  if (/^KNOWN$/i.test(word)) return name === undefined ? 'maybe' : name === null ? 'no' : 'yes';
  if (/^LOCAL$/i.test(word)) {
    return name === undefined ? 'maybe' : name === null || name.includes('.') ? 'no' : 'yes';
  }
  const slash = word.indexOf('/');
  if (slash >= 0) return maskMatches(word.slice(0, slash), word.slice(slash + 1), address) ? 'yes' : 'no';
  const byAddress = textMatches(word, address);
  if (byAddress === 'yes' || /^[\d./]+$/.test(word)) return byAddress;
  if (name === undefined) return 'maybe';
  // Without a name that counts it is called `unknown` or `paranoid`; which of them is not known.
  return name === null
    ? /^(?:UNKNOWN|PARANOID)$/i.test(word) || /[*?]/.test(word)
      ? 'maybe'
      : 'no'
    : textMatches(word, name);
}

function textMatches(pattern: string, text: string): Truth {
  return matchesText(pattern.toLowerCase(), text.toLowerCase()) ? 'yes' : 'no';
}

function matchesText(pattern: string, text: string): boolean {
  if (/[*?]/.test(pattern)) return wildcards(pattern).test(text);
  if (pattern.startsWith('.')) return text.length > pattern.length && text.endsWith(pattern);
  if (pattern === 'all') return true;
  if (pattern === 'known') return text !== 'unknown';
  if (pattern.endsWith('.')) return text.startsWith(pattern);
  return pattern === text;
}

function wildcards(pattern: string): RegExp {
  const escaped = pattern.replace(/[.+^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`^${escaped.replaceAll('*', '.*').replaceAll('?', '.')}$`, 's');
}

/** Unlike elsewhere, a network that has bits beyond its mask holds nobody. */
function maskMatches(base: string, mask: string, address: string): boolean {
  const [network, bits, own] = [dotted(base), maskBits(mask), dotted(address)];
  if (network === null || bits === null || own === null) return false;
  return (own & bits) >>> 0 === network;
}

function maskBits(mask: string): number | null {
  if (!/^\d{1,2}$/.test(mask)) return dotted(mask);
  const length = Number(mask);
  return length < 1 || length > 32 ? null : (0xffffffff << (32 - length)) >>> 0;
}

function dotted(text: string): number | null {
  const parts = text.split('.');
  if (parts.length !== 4 || parts.some((part) => !/^\d{1,3}$/.test(part) || Number(part) > 255)) return null;
  return parts.reduce((value, part) => value * 256 + Number(part), 0);
}

/** The values that an option takes; null for one that takes none. What is not among them keeps everybody out. */
const OPTIONS: Readonly<Record<string, RegExp | null>> = {
  aclexec: /./,
  allow: null,
  banners: /./,
  deny: null,
  group: /./,
  keepalive: null,
  linger: /^\d+$/,
  nice: /^-?\d*$/,
  rfc931: /^\d*$/,
  setenv: /./,
  severity: /^(?:[a-z]+[0-7]?\.)?(?:emerg|alert|crit|err|error|warn|warning|notice|info|debug)$/i,
  spawn: /./,
  twist: /./,
  umask: /^[0-7]{1,3}$/,
  user: /./,
};
const LAST = ['allow', 'deny', 'twist'];
/** Who runs, or who asks at the other machine, decides. */
const ASKS = ['aclexec', 'group', 'rfc931', 'user'];

/** What the options of a rule make of it; null for what its file makes of it. */
function granting(options: readonly string[]): Truth | null {
  for (const [index, option] of options.entries()) {
    const [, key = '', value = ''] = /^([^=\s]*)\s*=?\s*(.*)$/s.exec(option) ?? [];
    const name = key.toLowerCase();
    if (!Object.hasOwn(OPTIONS, name)) return 'no';
    const fits = OPTIONS[name]?.test(value) ?? value === '';
    if (!fits || (LAST.includes(name) && index < options.length - 1)) return 'no';
    if (name === 'allow') return 'yes';
    if (name === 'deny' || name === 'twist') return 'no';
    if (ASKS.includes(name)) return 'maybe';
  }
  return null;
}
