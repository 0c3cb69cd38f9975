import { type ChildProcess, spawn } from 'node:child_process';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import type { Test } from 'tap';
import { endChild } from '../support/processes.ts';

export interface Packets {
  client: string;
  /** 0 for any. */
  clientPort: number;
  server: string;
  port: number;
}

/** Tries a connection: `greeted by …`, `silence` when nothing came within `waitMs`, or the error of the system. */
export type Attempt = (connection: Packets, waitMs: number) => Promise<string>;

const CHILD = resolve(import.meta.dirname, 'packet-child.js');

/**
 * A process in one of the networks of a machine that tries connections, and listens on ports.
 * @param place `inside` or `inLan` of the machine
 */
export async function packets(t: Test, place: readonly string[], ports: readonly number[]): Promise<Attempt> {
  const [program = '', ...args] = [...place, process.execPath, CHILD, ...ports.map(String)];
  const env = { PATH: process.env.PATH ?? '' };
  const child: ChildProcess = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'], env });
  t.teardown(() => endChild(child));
  const waiting = new Map<number, (end: string) => void>();
  let ready: () => void = () => undefined;
  const started = new Promise<void>((done) => {
    ready = done;
  });
  createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
    if (line === 'ready') return ready();
    const { id, end } = JSON.parse(line) as { id: number; end: string };
    waiting.get(id)?.(end);
    waiting.delete(id);
  });
  await started;
  let last = 0;
  return ({ client: from, clientPort: fromPort, server: to, port }, waitMs) =>
    new Promise((done) => {
      const id = ++last;
      waiting.set(id, done);
      child.stdin?.write(`${JSON.stringify({ id, from, fromPort, to, port, waitMs })}\n`);
    });
}
