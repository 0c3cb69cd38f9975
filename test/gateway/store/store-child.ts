/**
 * A store in a process of its own, to be killed and starved. Each line of JSON on its standard input is a request; it
 * prints the outcome of each as a line of JSON. `churn` goes on by itself, and prints the number of each step done.
 */
import { createInterface } from 'node:readline';
import { Secrets } from '../../../src/gateway/secrets.ts';
import { type DataDir, openDataDir } from '../../../src/gateway/sql-store/data-dir.ts';
import type { OpenedStore } from '../../../src/gateway/sql-store/open.ts';
import { Failure } from '../../../src/support/failures.ts';
import { step } from './churn.ts';
import { open } from './support.ts';

export type Request =
  | ['open', string]
  | ['close']
  | ['keepCopy']
  | ['churn', { seed: number; from: number }]
  | [method: 'load' | 'insertDevice' | 'updateDevice' | 'deleteDevice' | 'observe' | 'auditOf', ...unknown[]];

export type Outcome = { ok: true; value: unknown } | { ok: false; code: string; sentence: string };

let dataDir: DataDir | null = null;
let opened: OpenedStore | null = null;

const print = (value: unknown) => process.stdout.write(`${JSON.stringify(value)}\n`);

if (process.argv[2] === 'serve') {
  print('ready');
  for await (const line of createInterface({ input: process.stdin })) {
    try {
      print({ ok: true, value: (await answer(JSON.parse(line) as Request)) ?? null });
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      print({ ok: false, code: error.code, sentence: error.message });
    }
  }
}

async function answer([name, ...args]: Request): Promise<unknown> {
  if (name === 'open') {
    dataDir = await openDataDir(args[0] as string);
    opened = await open(dataDir.path);
    await Secrets.open(dataDir.path, opened.fleet.devices);
    return opened.fleet.devices.map((device) => device.key);
  }
  if (opened === null) throw new Error('nothing is open');
  const { store, keepCopy } = opened;
  if (name === 'keepCopy') return keepCopy();
  if (name === 'churn') {
    const { seed, from } = args[0] as { seed: number; from: number };
    for (let number = from; ; number += 1) {
      await step(store, seed, number);
      print(number);
    }
  }
  if (name === 'close') {
    await store.close();
    return dataDir?.release();
  }
  return (store[name] as (...args: unknown[]) => Promise<unknown>).apply(store, args);
}
