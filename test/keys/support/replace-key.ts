/**
 * Replaces keys in a process that a test may trace, starve and kill. It says `ready`; for each line of JSON
 * `[path, key]` on its standard input it replaces the key of that file and prints the outcome as one line of JSON.
 */
import { createInterface } from 'node:readline';
import { KeyFile } from '../../../src/pairing/key-file.ts';
import { parsePublicKey } from '../../../src/pairing/public-key.ts';
import { Failure } from '../../../src/support/failures.ts';
import { createLog } from '../../../src/support/log.ts';

export type Outcome = { ok: true } | { ok: false; code: string; sentence: string };

process.stdout.write('ready\n');
for await (const request of createInterface({ input: process.stdin })) {
  const [path, key] = JSON.parse(request) as [string, string];
  process.stdout.write(`${JSON.stringify(await replace(path, key))}\n`);
}

async function replace(path: string, key: string): Promise<Outcome> {
  try {
    await new KeyFile({ path, log: createLog('silent') }).replace(parsePublicKey(key));
    return { ok: true };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return { ok: false, code: error.code, sentence: error.message };
  }
}
