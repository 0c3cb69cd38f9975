// What the files of /proc say about a process and about Unix sockets (proc(5)).

/** The inode of the listening socket at a path, out of /proc/net/unix; the last one, where a path was used again. */
export function unixListener(table: string, path: string): number | null {
  const LISTENS = 0x1_0000; // __SO_ACCEPTCON
  let inode: number | null = null;
  for (const line of table.split('\n').slice(1)) {
    const [, , , flags = '', , , number = '', ...name] = line
      .trim()
      .split(' ')
      .filter((field) => field !== '');
    if (name.join(' ') === path && (Number.parseInt(flags, 16) & LISTENS) !== 0) inode = Number(number);
  }
  return inode;
}

const NODE = /^(?:node|nodejs|tunnel-agent)$/;
const AGENT = /^tunnel-agent(?:\.[cm]?js)?$/;
const baseName = (path: string) => path.slice(path.lastIndexOf('/') + 1);

/** Whether arguments are those of the service itself, and not of what started it (a shell, a supervisor). */
export function isService(args: readonly string[]): boolean {
  if (!NODE.test(baseName(args[0] ?? ''))) return false;
  const at = args.findIndex((arg) => AGENT.test(baseName(arg)));
  return at !== -1 && args.slice(at + 1).includes('run');
}

/** Who a process is when it opens a file. */
export interface ProcessIdentity {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  /** It may open whatever it likes (CAP_DAC_OVERRIDE, capabilities(7)). */
  readonly isUnbound: boolean;
}

/** Out of /proc/PID/status; null where that is cut. */
export function parseIdentity(text: string): ProcessIdentity | null {
  const words = (name: string) => new RegExp(`^${name}:[ \\t]*(.*)$`, 'm').exec(text)?.[1]?.split(/\s+/) ?? [];
  // The fourth is that of the file system.
  const [uid, gid] = [words('Uid')[3], words('Gid')[3]];
  if (uid === undefined || gid === undefined) return null;
  const DAC_OVERRIDE = 0b10;
  return {
    uid: Number(uid),
    gid: Number(gid),
    groups: words('Groups')
      .filter((word) => word !== '')
      .map(Number),
    isUnbound: (Number.parseInt(words('CapEff')[0]?.slice(-8) ?? '0', 16) & DAC_OVERRIDE) !== 0,
  };
}

/** The settings that tell with which folders a service was started; never anything else of its environment. */
export function placesOf(
  args: readonly string[],
  environment: string,
): { config: string | null; runDir: string | null } {
  const at = args.findIndex((arg) => arg === '--config' || arg === '-c');
  const joined = args.find((arg) => arg.startsWith('--config='))?.slice('--config='.length);
  const runDir = environment.split('\0').find((entry) => entry.startsWith('ZEROFORCE_RUN_DIR='));
  return {
    config: joined ?? (at === -1 ? null : (args[at + 1] ?? null)),
    runDir: runDir?.slice('ZEROFORCE_RUN_DIR='.length) ?? null,
  };
}

/** The inodes of the sockets bound to a UDP port, out of /proc/net/udp or udp6. */
export function udpInodes(table: string, port: number): number[] {
  return table
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local = '']) => Number.parseInt(local.split(':')[1] ?? '', 16) === port)
    .map((fields) => Number(fields[9]));
}
