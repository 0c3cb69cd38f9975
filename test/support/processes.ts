import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';

/** A TCP port that was free a moment ago. */
export async function freePort(host = '127.0.0.1'): Promise<number> {
  const server = createServer().listen(0, host);
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

/** Every process below `pid`, children of children included. */
export function descendants(pid: number): number[] {
  const parents = new Map<number, number>();
  for (const entry of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      // The name in brackets may hold spaces; the parent is the second field behind it.
      const parent = readFileSync(`/proc/${entry}/stat`, 'utf8').split(') ').pop()?.split(' ')[1];
      parents.set(Number(entry), Number(parent));
    } catch {
      // ended meanwhile
    }
  }
  const children = [...parents].filter(([, parent]) => parent === pid).map(([child]) => child);
  return [...children, ...children.flatMap(descendants)];
}

/** Ends a child that this test started, and all that it started in turn, and waits for its end. */
export async function endChild(child: ChildProcess, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  const below = descendants(child.pid);
  for (const pid of [child.pid, ...below]) kill(pid, signal);
  const timer = setTimeout(() => {
    for (const pid of [child.pid ?? 0, ...below].filter((one) => one > 0)) kill(pid, 'SIGKILL');
  }, 5_000);
  await exited;
  clearTimeout(timer);
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // ended meanwhile
  }
}

export interface Output {
  code: number | null;
  stdout: string;
  stderr: string;
}

/**
 * Program and arguments for `spawn` that keep tap out of the child: it puts itself into every Node that a test starts, by
 * NODE_OPTIONS, for 0.4 s of its time.
 */
export function withoutTap(program: string, args: readonly string[]): [string, string[]] {
  return ['/usr/bin/env', ['-u', 'NODE_OPTIONS', program, ...args]];
}

/** Runs a program to its end and gives what it printed; ended after `timeoutMs`. */
export async function run(
  program: string,
  args: readonly string[],
  options: { env?: NodeJS.ProcessEnv; timeoutMs?: number; input?: string; cwd?: string } = {},
): Promise<Output> {
  const child = spawn(...withoutTap(program, args), {
    env: options.env ?? process.env,
    cwd: options.cwd,
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const timer = setTimeout(() => void endChild(child, 'SIGKILL'), options.timeoutMs ?? 30_000);
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  child.stdin.on('error', () => undefined); // a program that does not read its input
  child.stdin.end(options.input ?? '');
  const [code] = (await once(child, 'close')) as [number | null];
  clearTimeout(timer);
  return { code, stdout, stderr };
}
