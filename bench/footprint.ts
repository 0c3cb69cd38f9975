/**
 * `make footprint`: what the device service costs while nobody needs it, as it ships: bundled into one file, with
 * everything on. Prints the tables of docs/performance.md, for the Node that runs this and for that of the devices.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundle } from '../scripts/bundle.ts';
import { Lifecycle } from '../src/support/lifecycle.ts';
import { endChild } from '../test/support/processes.ts';
import type { IdleFigures, PollFigures, StartFigures } from './footprint-cell.ts';
import { STEPS, type Step } from './footprint-steps.ts';
import { copyNode, deviceNode, type NodeVersion, runningNode } from './node-versions.ts';

/** Each is a minute and a half. */
const ROUNDS = 3;
const STARTS = 11;
/** Forty minutes of them on a device, four here. */
const POLLS = 480;
/** The longest cell takes four minutes. */
const CELL_DEADLINE_MS = 8 * 60_000;

const parts = new Lifecycle();

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'zeroforce-footprint-'));
  parts.own('the folder', () => rm(folder, { recursive: true, force: true }));
  const program = await bundle(join(folder, 'tunnel-agent.cjs'));
  const nodes = [runningNode(), deviceNode()].filter((node) => node !== null);
  print(`Load average at the start: ${load()}\n`);
  for (const node of nodes) {
    await measure(await copyNode(node, join(folder, node.name)), program.replace(/\.cjs$/, ''));
  }
  print(`Load average at the end: ${load()}\n`);
}

async function measure(node: NodeVersion, launcher: string): Promise<void> {
  process.stderr.write(`${node.name}: ${STARTS} starts …\n`);
  const starts = await cell<StartFigures>('starts', STARTS, node, launcher);
  const [rounds, polls] = await Promise.all([
    idleRounds(node, launcher),
    cell<PollFigures>('polls', POLLS, node, launcher),
  ]);
  const rows = STEPS.map((step, index) => ({ step, runs: rounds.map((round) => round[index]!) }));
  print(`## ${node.name}\n\n${wholeTable(rows.at(-1)!.runs, starts, polls)}\n${partsTable(rows)}\n`);
}

async function idleRounds(node: NodeVersion, launcher: string): Promise<IdleFigures[][]> {
  const rounds: IdleFigures[][] = [];
  for (let round = 1; round <= ROUNDS; round += 1) {
    process.stderr.write(`${node.name}: idle, round ${round} of ${ROUNDS} …\n`);
    // All rows at once: idle services are not in each other's way, and each has a network of its own.
    rounds.push(await Promise.all(STEPS.map((_step, index) => cell<IdleFigures>('idle', index, node, launcher))));
  }
  return rounds;
}

/** One measurement, in a process and a network of its own. */
async function cell<T>(kind: string, number: number, { folder }: NodeVersion, launcher: string): Promise<T> {
  const script = join(import.meta.dirname, 'footprint-cell.js');
  const args = ['-n', process.execPath, script, kind, String(number), folder, launcher];
  const child = spawn('unshare', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  parts.own('a measurement', () => endChild(child));
  const timer = setTimeout(() => void endChild(child), CELL_DEADLINE_MS);
  const output = (await child.stdout.setEncoding('utf8').toArray()).join('');
  clearTimeout(timer);
  if (output === '') throw new Error(`the measurement "${kind} ${number}" gave nothing`);
  return JSON.parse(output) as T;
}

function wholeTable(
  runs: readonly IdleFigures[],
  { readyMs, readyCpuMs, pssMib }: StartFigures,
  { memory }: PollFigures,
): string {
  const of = (key: Exclude<keyof IdleFigures, 'changedFiles' | 'collected'>) => runs.map((run) => run[key]);
  const files = [...new Set(runs.flatMap(({ changedFiles }) => changedFiles))];
  return table(
    ['everything on, idle', 'median', 'lowest to highest'],
    [
      ['RSS MiB', ...spread(of('rssMib'), 1)],
      ['anonymous MiB', ...spread(of('anonymousMib'), 1)],
      [
        `RSS MiB in the ${POLLS / 2} polls before the ${POLLS}th`,
        ...spread(
          memory.map(({ rssMib }) => rssMib),
          1,
        ),
      ],
      [
        'anonymous MiB in them',
        ...spread(
          memory.map(({ anonymousMib }) => anonymousMib),
          1,
        ),
      ],
      ['PSS MiB, the only Node of the machine', ...spread([pssMib], 1)],
      ['wake-ups a second', ...spread(of('wakeUpsPerSecond'), 1)],
      ['CPU ms a minute', ...spread(of('cpuMsPerMinute'))],
      ['CPU ms a minute, netstat', ...spread(of('childrenCpuMsPerMinute'))],
      ['bytes written to storage in a minute', ...spread(of('storageBytes'))],
      ['files on storage that changed', files.length === 0 ? 'none' : files.join(', '), ''],
      [`start to \`readytopair\`: true, ms (${readyMs.length} starts)`, ...spread(readyMs)],
      ['CPU ms up to then', ...spread(readyCpuMs)],
    ],
  );
}

function partsTable(rows: readonly { step: Step; runs: readonly IdleFigures[] }[]): string {
  return table(
    [
      'what runs, garbage collected',
      'RSS MiB',
      'more',
      'anonymous MiB',
      'more',
      'wake-ups a second',
      'CPU ms a minute',
    ],
    rows.map(({ step, runs }) => {
      const above = step.above === null ? null : rows[step.above]!.runs;
      const of = (key: 'rssMib' | 'anonymousMib') => {
        const here = median(runs.map(({ collected }) => collected[key]));
        return [
          here.toFixed(1),
          above === null ? '' : signed(here - median(above.map(({ collected }) => collected[key]))),
        ];
      };
      return [
        step.name,
        ...of('rssMib'),
        ...of('anonymousMib'),
        median(runs.map((run) => run.wakeUpsPerSecond)).toFixed(1),
        median(runs.map((run) => run.cpuMsPerMinute + run.childrenCpuMsPerMinute)).toFixed(0),
      ];
    }),
  );
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |\n`;
  return [line(head), `|${'---|'.repeat(head.length)}\n`, ...rows.map(line)].join('');
}

function spread(values: readonly number[], digits = 0): [string, string] {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return [median(values).toFixed(digits), low === high ? '' : `${low.toFixed(digits)} to ${high.toFixed(digits)}`];
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

function signed(value: number): string {
  return `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(1)}`;
}

function load(): string {
  return loadavg()
    .map((value) => value.toFixed(1))
    .join(' ');
}

function print(text: string): void {
  process.stdout.write(text);
}

const giveUp = () => void parts.stop(10_000).then(() => process.exit(1));
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, giveUp);
try {
  await main();
} finally {
  await parts.stop(10_000);
}
