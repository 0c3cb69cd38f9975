/** What runs in one row of the table; each row has one part more than the row that it is compared with. */
export interface Step {
  name: string;
  /** The index of the row that it is compared with; null for the first. */
  above: number | null;
  /** Arguments of tunnel-agent. */
  args: readonly string[];
  /** The text of a program that the launcher runs in the place of ours, whose path is then in `PROGRAM`. */
  instead?: string;
  parts: readonly Part[];
}

/** What can be turned on by a setting. Pairing over HTTP, the control socket and the flag watcher always run. */
export type Part = 'monitor' | 'mdns' | 'tunnel' | 'meeting';

/** Keeps a process without work alive. */
const STAY = 'setInterval(() => undefined, 2 ** 31 - 1);';

export const STEPS: readonly Step[] = [
  { name: 'bare Node', above: null, args: [], instead: STAY, parts: [] },
  {
    name: 'the command line, loaded',
    above: 0,
    args: ['--version'],
    instead: `${STAY} require(process.env.PROGRAM);`,
    parts: [],
  },
  { name: 'the monitor alone (`tunnel-agent monitor`)', above: 1, args: ['monitor'], parts: ['monitor'] },
  { name: 'pairing alone: HTTP, page, watcher, control socket', above: 1, args: ['run'], parts: [] },
  { name: 'with the monitor', above: 3, args: ['run'], parts: ['monitor'] },
  { name: 'with mDNS', above: 4, args: ['run'], parts: ['monitor', 'mdns'] },
  { name: 'with the tunnel', above: 5, args: ['run'], parts: ['monitor', 'mdns', 'tunnel'] },
  {
    name: 'with the Meeting API: everything',
    above: 6,
    args: ['run'],
    parts: ['monitor', 'mdns', 'tunnel', 'meeting'],
  },
];
