import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import type { Test } from 'tap';
import { endChild, type Output, run } from '../support/processes.ts';
import { until } from '../support/until.ts';

/** For `requires(...)`. */
export const NEEDS_BOARD = [
  'root',
  'namespaces',
  'nsenter',
  'unshare',
  'systemd-nspawn',
  'mmdebstrap',
  'ssh',
  'curl',
] as const;

/** Debian 13 with its own Node; Debian 12 without Node, with OpenRC and BusyBox, too (scripts/test-roots.sh). */
export type Debian = 'trixie' | 'bookworm';
/** What starts as the first process; BusyBox and OpenRC (in the way of Alpine) on bookworm only. */
export type Init = 'systemd' | 'busybox' | 'openrc';

/**
 * A device of our own: a disk that keeps what is written on it, over a Debian system that never changes; processes, host
 * name and network of its own (`lo` alone). It can be started with a real init system, lose its power and start again.
 */
export interface Board {
  /** Starts it, and returns when its init system has started everything. The first time decides which one it has. */
  boot(init: Init): Promise<void>;
  /** Ends every process at once, as a power cut does. */
  cut(): Promise<void>;
  /** Ends it by its init system's own means; throws where that takes longer than a minute. */
  shutdown(): Promise<void>;
  /** Runs a shell script as root, whether the board is on or off. */
  sh(script: string, options?: { input?: string; timeoutMs?: number }): Promise<Output>;
  /** The same; throws unless it ended with 0, and gives what it printed. */
  must(script: string, options?: { input?: string; timeoutMs?: number }): Promise<string>;
  write(path: string, text: string, mode?: number): Promise<void>;
  /** Copies a file or folder of this machine to `path`, with its modes, as root's. */
  put(from: string, path: string): Promise<void>;
  /** Where a file is found from outside, while the board is on. */
  path(path: string): string;
  /** In front of a program of this machine, which then has the network of the board; while it is on. */
  readonly inNet: readonly string[];
  /** What its first process has printed. */
  console(): string;
}

const HERE = resolve(import.meta.dirname, '../../../test/install');
const SYSTEMS = process.env.ZEROFORCE_TEST_CACHE ?? '/var/cache/zeroforce-test';
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const NAMESPACES = ['--mount', '--net', '--pid', '--uts', '--ipc', '--fork', '--kill-child'];

export async function makeBoard(t: Test, debian: Debian): Promise<Board> {
  const system = join(SYSTEMS, debian);
  if (!existsSync(system)) throw new Error(`there is no ${system}; make it with: scripts/test-roots.sh`);
  const folder = mkdtempSync(join(tmpdir(), 'zeroforce-board-'));
  const script = [join(HERE, 'board.sh')];
  const off = ['unshare', ...NAMESPACES, 'sh', ...script, 'off', system, folder];
  let on: { holder: ChildProcess; exited: Promise<unknown>; first: number } | null = null;
  let prepared: Init | null = null;
  let said = '';

  const cut = async () => {
    if (on === null) return;
    const { first, exited, holder } = on;
    on = null;
    // The first process takes all others with it.
    process.kill(first, 'SIGKILL');
    await exited;
    await endChild(holder, 'SIGKILL');
  };
  t.teardown(async () => {
    await cut();
    rmSync(folder, { recursive: true, force: true });
  });

  const inNet = () => {
    if (on === null) throw new Error('the board is off');
    return ['nsenter', '-t', String(on.first), '-n', '--'];
  };
  const inside = () =>
    on === null ? off : ['nsenter', '-t', String(on.first), '-m', '-u', '-i', '-n', '-p', '-r', '-w', '-C', '--'];
  const env = { PATH, HOME: '/root', TERM: 'dumb' };
  const sh: Board['sh'] = (text, { input = '', timeoutMs = 120_000 } = {}) => {
    const [program = '', ...args] = [...inside(), 'sh', '-c', text];
    return run(program, args, { env, input, timeoutMs });
  };
  const must: Board['must'] = async (text, options) => {
    const { code, stdout, stderr } = await sh(text, options);
    if (code !== 0) throw new Error(`on the board, this ended with ${code}:\n${text}\n${stdout}${stderr}`);
    return stdout;
  };

  const start = async (init: Init) => {
    const [program = '', ...args] =
      init === 'systemd'
        ? ['unshare', '--mount', 'sh', ...script, init, system, folder]
        : ['unshare', ...NAMESPACES, 'sh', ...script, init, system, folder];
    const holder = spawn(program, args, { env: { PATH, TERM: 'dumb' }, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [holder.stdout, holder.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        said += text;
      });
    }
    const exited = once(holder, 'exit');
    const name = init === 'systemd' ? 'systemd' : 'busybox';
    const first = await until('the first process of the board', () => {
      if (holder.exitCode !== null) throw new Error(`the board did not start:\n${said}`);
      return children(holder.pid ?? 0).find((pid) => nameOf(pid) === name);
    }).catch(async (error: unknown) => {
      await endChild(holder, 'SIGKILL');
      throw error;
    });
    on = { holder, exited, first };
    const up =
      init === 'systemd'
        ? '[ -S /run/systemd/private ] && systemctl is-system-running --wait | grep -qE "running|degraded"'
        : '[ -e /run/board-is-up ]';
    await until(`the board to be up:\n${said}`, async () => (await sh(up)).code === 0, 60_000);
  };

  return {
    async boot(init) {
      if (on !== null) throw new Error('the board is on');
      if (prepared === null && init !== 'systemd') {
        await must('exec sh -s', { input: readFileSync(join(HERE, `board-${init}.sh`), 'utf8') });
      }
      prepared ??= init;
      if (prepared !== init) throw new Error(`this board has ${prepared}`);
      await start(init);
    },
    cut,
    async shutdown() {
      if (on === null) return;
      const { exited, holder } = on;
      await sh(prepared === 'systemd' ? 'systemctl poweroff' : 'busybox poweroff');
      const timer = setTimeout(() => void cut(), 60_000);
      await exited;
      clearTimeout(timer);
      await endChild(holder, 'SIGKILL');
      if (on === null) throw new Error('the board did not shut down within a minute');
      on = null;
    },
    sh,
    must,
    async write(path, text, mode = 0o644) {
      await must(`mkdir -p '${dirname(path)}' && cat >'${path}' && chmod ${mode.toString(8)} '${path}'`, {
        input: text,
      });
    },
    async put(from, path) {
      const words = [...inside(), 'sh', '-c', 'mkdir -p "$1" && tar -x --no-same-owner -C "$1"', 'sh', dirname(path)];
      const rename = `s,^${basename(from)},${basename(path)},`;
      const pipe = 'tar -c --transform "$3" -C "$1" "$2" | { shift 3; exec "$@"; }';
      const { code, stderr } = await run('sh', ['-c', pipe, 'sh', dirname(from), basename(from), rename, ...words], {
        env,
        timeoutMs: 120_000,
      });
      if (code !== 0) throw new Error(`cannot put ${from} on the board: ${stderr}`);
    },
    path: (path) => {
      if (on === null) throw new Error('the board is off');
      return `/proc/${on.first}/root${path}`;
    },
    get inNet() {
      return inNet();
    },
    console: () => said,
  };
}

function children(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

function nameOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return '';
  }
}
