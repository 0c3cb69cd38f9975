import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { Outcome } from './replace-key.ts';
import { endProcess, type Replacer, startReplacer } from './replacer.ts';

/** One system call of the replacement. */
export interface SystemCall {
  name: string;
  /** Which of the calls of this name it is, counted from 1, as strace's `when=` counts. */
  ordinal: number;
  /** As strace prints it, the folder written DIR, cut to a readable length. */
  text: string;
}

/** Replaces keys with strace attached from just before each replacement until just after it. */
export class TracedReplacer {
  #replacer: Replacer | null = null;

  /** Tells the outcome, or null when the process was killed before it had one; then the next call starts another. */
  async replace(path: string, line: string, straceOptions: readonly string[]): Promise<Outcome | null> {
    const replacer = this.#replacer ?? (await startReplacer());
    this.#replacer = replacer;
    const tracer = await attach(replacer.pid, straceOptions);
    const outcome = await replacer.replace(path, line);
    if (outcome === null) await this.stop();
    await endProcess(tracer, 'SIGINT');
    return outcome;
  }

  async stop(): Promise<void> {
    const replacer = this.#replacer;
    this.#replacer = null;
    await replacer?.stop();
  }
}

async function attach(pid: number, options: readonly string[]): Promise<ChildProcess> {
  const tracer = spawn('strace', ['-f', '-p', String(pid), ...options], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  await new Promise<void>((resolve, reject) => {
    tracer.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
      if (said.includes('attached')) resolve();
    });
    tracer.once('error', reject).once('exit', () => reject(new Error(`strace ended: ${said}`)));
  });
  return tracer;
}

/** All system calls of the thread that replaced the key, without those that only wake threads or get memory. */
export function callsOf(traceFile: string, folder: string): SystemCall[] {
  const entries = readFileSync(traceFile, 'utf8')
    .split('\n')
    .map((text) => /^(?<thread>\d+) +(?<text>(?<name>\w+)\(.*)/.exec(text)?.groups)
    .filter((entry) => entry !== undefined);
  const worker = entries.find((entry) => entry.text?.includes(folder))?.thread;
  const counts = new Map<string, number>();
  const calls: SystemCall[] = [];
  for (const { thread, name = '', text = '' } of entries) {
    if (thread !== worker) continue;
    const ordinal = (counts.get(name) ?? 0) + 1;
    counts.set(name, ordinal);
    const wakesThread = name === 'write' && text.includes('"\\1\\0\\0\\0\\0\\0\\0\\0"');
    const isOfFiles = !/^(futex|mmap|munmap|mprotect|madvise|brk|rt_sig\w+|rseq|set_robust_list|prctl|exit)$/.test(
      name,
    );
    if (isOfFiles && !wakesThread) calls.push({ name, ordinal, text: text.replaceAll(folder, 'DIR').slice(0, 80) });
  }
  return calls;
}
