// As OpenSSH compares names and addresses (match.c, addrmatch.c). Pure.

/** Where a connection comes from, as sshd knows it. */
export interface Source {
  /** An IPv4 address. */
  readonly address: string;
  /** The name that belongs to it where sshd looks for one (UseDNS), else the address. */
  readonly host: string;
}

/** `*` for any characters, `?` for one. */
export function matchesPattern(text: string, pattern: string): boolean {
  let at = 0;
  let from = 0;
  let star = -1;
  let starAt = 0;
  while (at < text.length) {
    if (pattern[from] === '*') {
      star = from;
      starAt = at;
      from += 1;
    } else if (from < pattern.length && (pattern[from] === '?' || pattern[from] === text[at])) {
      from += 1;
      at += 1;
    } else if (star !== -1) {
      starAt += 1;
      at = starAt;
      from = star + 1;
    } else {
      return false;
    }
  }
  return /^\**$/.test(pattern.slice(from));
}

type Match = 'yes' | 'no' | 'denied';

/** A list with commas: one that is denied with `!` decides, wherever it stands. */
function listMatch(list: string, matches: (pattern: string) => boolean): Match {
  let found: Match = 'no';
  for (const entry of list.split(',')) {
    const denied = entry.startsWith('!');
    if (!matches(denied ? entry.slice(1) : entry)) continue;
    if (denied) return 'denied';
    found = 'yes';
  }
  return found;
}

/** A list of addresses, networks (`192.168.0.0/16`) and patterns, for an IPv4 address. */
export function addressInList(address: string, list: string): Match {
  return listMatch(list, (pattern) => inNetwork(address, pattern) ?? matchesPattern(address, pattern));
}

/** A list of hosts, as in `AllowUsers USER@LIST` and in `from="LIST"` of a key. */
export function hostInList({ address, host }: Source, list: string): boolean {
  const byAddress = addressInList(address, list);
  if (byAddress === 'denied') return false;
  const byName = listMatch(list.toLowerCase(), (pattern) => matchesPattern(host.toLowerCase(), pattern));
  if (byName === 'denied') return false;
  return byAddress === 'yes' || byName === 'yes';
}

/** `USER`, or `USER@HOSTS`. */
export function userMatches(user: string, source: Source, pattern: string): boolean {
  const at = pattern.lastIndexOf('@');
  if (at === -1) return matchesPattern(user, pattern);
  return matchesPattern(user, pattern.slice(0, at)) && hostInList(source, pattern.slice(at + 1));
}

/** Null where the text is neither an IPv4 address nor a network of them. */
function inNetwork(address: string, network: string): boolean | null {
  const [, base = '', bits = '32'] = /^([\d.]+)(?:\/(\d{1,2}))?$/.exec(network) ?? [];
  const [number, wanted] = [ipv4Number(address), ipv4Number(base)];
  if (number === null || wanted === null || Number(bits) > 32) return null;
  const size = 2 ** (32 - Number(bits));
  return Math.floor(number / size) === Math.floor(wanted / size);
}

function ipv4Number(address: string): number | null {
  const parts = address.split('.').map(Number);
  if (parts.length !== 4 || !parts.every((part) => Number.isInteger(part) && part >= 0 && part <= 255)) return null;
  return parts.reduce((sum, part) => sum * 256 + part, 0);
}
