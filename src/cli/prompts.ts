import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';

/** Whether somebody is there to answer: questions go to standard error, so that output can be piped. */
export function canAsk(): boolean {
  return process.stdin.isTTY === true && process.stderr.isTTY === true;
}

/** One line from the terminal, or from what is piped in; null at the end of the input, or when `signal` is aborted. */
export function ask(
  question: string,
  { hidden, signal }: { hidden: boolean; signal: AbortSignal },
): Promise<string | null> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve(null);
    if (canAsk()) process.stderr.write(question);
    const muted = new Writable({ write: (_chunk, _encoding, done) => done() });
    const output = hidden ? muted : process.stderr;
    const lines = createInterface({ input: process.stdin, output, terminal: canAsk() });
    let answer: string | null = null;
    const close = () => lines.close();
    signal.addEventListener('abort', close);
    lines.once('line', (line) => {
      answer = line;
      close();
    });
    // The terminal is in raw mode now, and gives us the key instead of the signal.
    lines.once('SIGINT', () => process.kill(process.pid, 'SIGINT'));
    lines.once('close', () => {
      signal.removeEventListener('abort', close);
      if (hidden && canAsk()) process.stderr.write('\n');
      resolve(answer);
    });
  });
}

/** The place of the chosen one of `count`; null when there was no sensible answer. */
export async function askNumber(count: number, signal: AbortSignal): Promise<number | null> {
  for (let tries = 0; tries < 3; tries += 1) {
    const answer = await ask(`Which one? [1-${count}] `, { hidden: false, signal });
    if (answer === null) return null;
    const number = Number(answer.trim());
    if (/^\d{1,3}$/.test(answer.trim()) && number >= 1 && number <= count) return number - 1;
  }
  return null;
}
