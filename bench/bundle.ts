/**
 * `make bench-bundle`: what the one file saves, and V8's compile cache besides: the start of the service and its memory,
 * out of a folder of packages, out of one file, and out of one file with the cache, for each Node that devices have.
 */
import { execFile } from 'node:child_process';
import { chmod, cp, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { bundle } from '../scripts/bundle.ts';
import type { StartFigures } from './footprint-cell.ts';
import { cachedNodes, copyNode, type NodeVersion } from './node-versions.ts';

const run = promisify(execFile);
const root = resolve(import.meta.dirname, '../..');
const STARTS = 11;
const CELL_MS = 5 * 60_000;
/** The first Node that has a compile cache. */
const CACHE_SINCE = 22;

const folder = await mkdtemp(join(tmpdir(), 'zeroforce-bundle-'));
try {
  const file = dirname(await bundle(join(folder, 'file/tunnel-agent.cjs')));
  const cached = await withCache(file, join(folder, 'cached'));
  process.stdout.write(`Load average: ${loadavg()[0]?.toFixed(1)}\n\n`);
  process.stdout.write(
    '| Node | runs out of | start to ready ms | CPU ms up to then | RSS MiB | anonymous MiB | cache MiB |\n',
  );
  process.stdout.write(`|${'---|'.repeat(7)}\n`);
  for (const node of cachedNodes()) {
    const copy = await copyNode(node, join(folder, node.name));
    await row(copy, 'a folder of packages', join(root, 'bin/tunnel-agent'));
    await row(copy, 'one file', join(file, 'tunnel-agent'));
    if (major(node) >= CACHE_SINCE) {
      await rm(join(cached, 'cache'), { recursive: true, force: true });
      await row(copy, 'one file and its compile cache', join(cached, 'tunnel-agent'), join(cached, 'cache'));
    }
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}

/** The same two files, with a launcher that asks Node for a cache. */
async function withCache(file: string, to: string): Promise<string> {
  await cp(file, to, { recursive: true });
  const launcher = await readFile(join(file, 'tunnel-agent'), 'utf8');
  const asking = launcher.replace(/^exec /m, `export NODE_COMPILE_CACHE='${to}/cache'\nexec `);
  await writeFile(join(to, 'tunnel-agent'), asking);
  await chmod(join(to, 'tunnel-agent'), 0o755);
  await mkdir(join(to, 'cache'));
  return to;
}

async function row(node: NodeVersion, what: string, launcher: string, cache?: string): Promise<void> {
  const args = ['-n', process.execPath, join(import.meta.dirname, 'footprint-cell.js')];
  const { stdout } = await run('unshare', [...args, 'starts', String(STARTS), node.folder, launcher], {
    timeout: CELL_MS,
  });
  const { readyMs, readyCpuMs, rssMib, anonymousMib } = JSON.parse(stdout) as StartFigures;
  const times = [readyMs, readyCpuMs].map((values) => median(values).toFixed(0));
  const cacheMib = cache === undefined ? '' : (await sizeMib(cache)).toFixed(1);
  const cells = [node.name, what, ...times, rssMib.toFixed(1), anonymousMib.toFixed(1), cacheMib];
  process.stdout.write(`| ${cells.join(' | ')} |\n`);
}

async function sizeMib(path: string): Promise<number> {
  const { stdout } = await run('find', [path, '-type', 'f']);
  const sizes = await Promise.all(
    stdout
      .trim()
      .split('\n')
      .map(async (name) => (await stat(name)).size),
  );
  return sizes.reduce((sum, size) => sum + size, 0) / 2 ** 20;
}

function major({ name }: NodeVersion): number {
  return Number(/\d+/.exec(name)?.[0]);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
