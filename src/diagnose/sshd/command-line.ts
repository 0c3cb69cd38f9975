/** How an sshd was started, from the words of its process. */
export interface SshdCommand {
  /** It waits for connections; the others serve one each. */
  readonly isListener: boolean;
  /** Of `-f`; null for the one that is compiled in. */
  readonly configFile: string | null;
  /** Options that change the configuration, as words for another sshd: `-p 2222`, `-o UsePAM=no`, `-h FILE`. */
  readonly overrides: readonly string[];
  /** Connections that have not logged in yet, and from how many on new ones are dropped; null where it does not say. */
  readonly startups: { readonly now: number; readonly begin: number; readonly full: number } | null;
  /** Nothing of the words was cut off. */
  readonly isWhole: boolean;
}

// sshd writes over its words when it listens: `sshd: WORDS [listener] 0 of 10-100 startups` (sshd.c), as far as there is
// room in what it was started with; the program is a full path then. One that serves a session says whose.
const LISTENER = /^sshd: (\/.*?)(?: \[listener\] (\d+) of (\d+)-(\d+) startups.*)?$/s;
const WITH_VALUE = new Set('CEbcfghkopu');
const CHANGES_CONFIG = new Set('hop');

/** @param words of the process, the program first. Pure. */
export function parseSshdCommand(words: readonly string[]): SshdCommand {
  const title = words[0]?.startsWith('sshd: ') ? words.join(' ') : null;
  const listener = title === null ? null : LISTENER.exec(title);
  if (title !== null && listener === null) {
    return { isListener: false, configFile: null, overrides: [], startups: null, isWhole: true };
  }
  const [, args = '', now, begin, full] = listener ?? [];
  const isWhole = listener === null || now !== undefined;
  // Of a title that was cut the last word may be a part of one.
  const plain = listener === null ? words : args.split(' ').slice(0, isWhole ? undefined : -1);
  const options = readOptions(plain.slice(1));
  return {
    // -i serves one connection of inetd, -R one of the sshd that started it.
    isListener: !options.some(([letter]) => letter === 'i' || letter === 'R'),
    configFile: options.findLast(([letter]) => letter === 'f')?.[1] ?? null,
    overrides: options
      .filter(([letter]) => CHANGES_CONFIG.has(letter))
      .flatMap(([letter, value]) => [`-${letter}`, value]),
    startups: now === undefined ? null : { now: Number(now), begin: Number(begin), full: Number(full) },
    isWhole,
  };
}

/** As getopt(3) reads them: letters may stand together, and a value may stand beside its letter. */
function readOptions(words: readonly string[]): [letter: string, value: string][] {
  const found: [string, string][] = [];
  for (let at = 0; at < words.length; at += 1) {
    const word = words[at] ?? '';
    if (!/^-[^-]/.test(word)) continue;
    for (let index = 1; index < word.length; index += 1) {
      const letter = word.charAt(index);
      if (!WITH_VALUE.has(letter)) {
        found.push([letter, '']);
        continue;
      }
      const beside = word.slice(index + 1);
      if (beside === '') at += 1;
      let value = beside === '' ? (words[at] ?? '') : beside;
      // `-o "Keyword value"` was one word; in a title it is not to be seen any more.
      while (letter === 'o' && !/[= ]/.test(value) && /^[^-]/.test(words[at + 1] ?? '')) {
        at += 1;
        value += ` ${words[at]}`;
      }
      found.push([letter, value]);
      break;
    }
  }
  return found;
}
