import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Outcome } from './replace-key.ts';

const SCRIPT = fileURLToPath(new URL('./replace-key.js', import.meta.url));

/** A process of its own that replaces keys, for tests that trace it, starve it or kill it. */
export interface Replacer {
  readonly pid: number;
  /** The outcome, or null when the process died before it had one. */
  replace(path: string, line: string): Promise<Outcome | null>;
  stop(): Promise<void>;
}

/**
 * One worker thread makes all the system calls, so that they come in the same order every time.
 *
 * @param wrapper a command that ends in `exec` of its further arguments
 */
export async function startReplacer(wrapper: readonly string[] = []): Promise<Replacer> {
  const [program = '', ...args] = [...wrapper, process.execPath, SCRIPT];
  const env = { ...process.env, UV_THREADPOOL_SIZE: '1', NODE_OPTIONS: '' };
  const child = spawn(program, args, { env, stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  if ((await lines.next()).value !== 'ready') throw new Error('the replacing process did not start');
  return {
    pid: child.pid ?? 0,
    async replace(path, line) {
      child.stdin.write(`${JSON.stringify([path, line])}\n`);
      const outcome = await lines.next();
      return outcome.done === true ? null : (JSON.parse(outcome.value) as Outcome);
    },
    stop: () => endProcess(child, 'SIGKILL'),
  };
}

export async function endProcess(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill(signal);
  await exited;
}
