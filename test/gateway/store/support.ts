import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { type OpenedStore, openStore, type StoreOptions } from '../../../src/gateway/sql-store/open.ts';
import { endChild } from '../../support/processes.ts';
import { testLog } from '../../support/test-log.ts';
import type { Outcome, Request } from './store-child.ts';

/** Opens the store in that folder, whose lock is not held. */
export function open(dataDir: string, more: Partial<StoreOptions> = {}): Promise<OpenedStore> {
  return openStore({ dataDir, nowMs: Date.now, log: testLog().log, ...more });
}

const SCRIPT = fileURLToPath(new URL('./store-child.js', import.meta.url));

/** One worker thread makes the calls of node:fs, so that they come in the same order every time. */
const NODE = ['UV_THREADPOOL_SIZE=1', process.execPath];

/** A store in a process of its own. */
export interface StoreChild {
  readonly pid: number;
  /** The outcome; null when the process died before it had one. */
  ask(...request: Request): Promise<Outcome | null>;
  /** What it prints next; null when it has died. */
  next(): Promise<unknown>;
  /** Begins to answer, and does not wait for it. */
  tell(...request: Request): void;
  kill(): Promise<void>;
}

/** @param wrapper a command that ends in `exec` of its further arguments */
export async function startStore(t: Test, wrapper: readonly string[] = []): Promise<StoreChild> {
  // By way of env, as tap puts itself into every Node that a test starts, for 0.4 s of processor time each.
  const [program = '', ...args] = [...wrapper, 'env', '-u', 'NODE_OPTIONS', ...NODE, SCRIPT, 'serve'];
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.on('error', () => undefined); // it was killed
  const kill = () => endChild(child, 'SIGKILL');
  t.teardown(kill);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => {
    const line = await lines.next();
    return line.done === true ? null : (JSON.parse(line.value) as unknown);
  };
  const tell = (...request: Request) => void child.stdin.write(`${JSON.stringify(request)}\n`);
  await next(); // ready; or killed as early as that
  return {
    pid: child.pid ?? 0,
    ask: async (...request) => {
      tell(...request);
      return (await next()) as Outcome | null;
    },
    next,
    tell,
    kill,
  };
}
