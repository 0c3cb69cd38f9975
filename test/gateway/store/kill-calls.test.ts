import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Secrets } from '../../../src/gateway/secrets.ts';
import { requires } from '../../support/requires.ts';
import { aDevice } from '../samples.ts';
import { open, type StoreChild, startStore } from './support.ts';

/** What changes something on a disk. */
const CALLS = ['pwrite64', 'fdatasync', 'fsync', 'ftruncate', 'rename', 'unlink', 'chmod'];
/** Of the many writes of pages, one in so many: what matters lies between them and the others. */
const WRITES_APART = 15;
/** Each run is a process under strace; two at a time on two cores. */
const LANES = 2;

type Step = Parameters<StoreChild['ask']>;

interface Scene {
  readonly name: string;
  /** What is in the folder before. */
  set(folder: string): Promise<void>;
  readonly steps: (folder: string) => readonly Step[];
  /** What must be there after so many steps were acknowledged, and perhaps one more was done. */
  check(t: Test, folder: string, acknowledged: number, label: string): Promise<void>;
}

const keysIn = async (folder: string) => {
  const { store, fleet } = await open(folder);
  await Secrets.open(folder, fleet.devices);
  await store.close();
  return fleet.devices.map(({ key }) => key).sort();
};

const scenes: Scene[] = [
  {
    name: 'a first start, decisions, a copy, the end',
    set: async (folder) => void mkdirSync(folder, 0o700),
    steps: (folder) => [
      ['open', folder],
      ['insertDevice', aDevice('a')],
      ['keepCopy'],
      ['insertDevice', aDevice('b')],
      ['close'],
    ],
    async check(t, folder, acknowledged, label) {
      const keys = await keysIn(folder);
      const atLeast = [[], [], ['a'], ['a'], ['a', 'b'], ['a', 'b']][acknowledged] ?? [];
      const atMost = [[], ['a'], ['a'], ['a', 'b'], ['a', 'b'], ['a', 'b']][acknowledged] ?? [];
      t.ok(
        [atLeast, atMost].some((list) => list.join() === keys.join()),
        `${label}: ${keys.join()}`,
      );
      if (acknowledged < 3 && !existsSync(join(folder, 'gateway.db.backup'))) return;
      copyFileSync(join(folder, 'gateway.db.backup'), join(folder, 'gateway.db'));
      t.strictSame(await keysIn(folder), ['a'], `${label}: the copy`);
    },
  },
  {
    name: 'the start of a copy beside the journal of another database',
    async set(folder) {
      mkdirSync(folder, 0o700);
      const { store, keepCopy } = await open(folder);
      await store.insertDevice(aDevice('a'));
      await keepCopy();
      for (const key of ['x', 'y', 'z']) await store.insertDevice(aDevice(key));
      const journal = readFileSync(join(folder, 'gateway.db-wal'));
      await store.close();
      copyFileSync(join(folder, 'gateway.db.backup'), join(folder, 'gateway.db'));
      writeFileSync(join(folder, 'gateway.db-wal'), journal);
      await Secrets.open(folder);
    },
    steps: (folder) => [
      ['open', folder],
      ['insertDevice', aDevice('b')],
    ],
    async check(t, folder, acknowledged, label) {
      const keys = (await keysIn(folder)).join();
      t.ok(keys === 'a,b' || (acknowledged < 2 && keys === 'a'), `${label}: ${keys}`);
    },
  },
  {
    name: 'a damaged database is set aside',
    async set(folder) {
      mkdirSync(folder, 0o700);
      for (const end of ['', '-wal']) writeFileSync(join(folder, `gateway.db${end}`), `not SQLite ${end}`);
    },
    steps: (folder) => [['open', folder]],
    async check(t, folder, _, label) {
      await t.rejects(open(folder), { code: /gateway\.store-(corrupt|missing)/ }, label);
      await t.rejects(open(folder), { code: 'gateway.store-missing' }, label);
      t.ok(
        readdirSync(folder).some((name) => /^gateway\.db\.corrupt-[^-]*$/.test(name)),
        `${label}: it is still there`,
      );
    },
  },
];

t.test('killed before each change of the disk', requires('root', 'strace', 'ptrace'), async (t) => {
  const root = t.testdir();
  let runs = 0;
  const run = async (scene: Scene, options: readonly string[]) => {
    runs += 1;
    const folder = join(root, `run${runs}`);
    await scene.set(folder);
    const child = await startStore(t);
    const tracer = await attach(child.pid, options);
    let acknowledged = 0;
    for (const step of scene.steps(folder)) {
      if ((await child.ask(...step)) === null) break;
      acknowledged += 1;
    }
    await child.kill();
    if (tracer.exitCode === null && tracer.signalCode === null) await once(tracer, 'exit');
    return { folder, acknowledged };
  };

  for (const scene of scenes) {
    t.test(scene.name, async (t) => {
      const trace = join(root, `trace-${scenes.indexOf(scene)}`);
      const whole = await run(scene, ['-o', trace, '-e', `trace=${CALLS.join()}`]);
      t.equal(whole.acknowledged, scene.steps('').length, 'undisturbed, all is done');
      await scene.check(t, whole.folder, whole.acknowledged, 'undisturbed');

      const moments = momentsOf(readFileSync(trace, 'utf8'));
      t.comment(`${moments.length} moments`);
      const left = [...moments];
      const lane = async () => {
        for (let moment = left.shift(); moment !== undefined; moment = left.shift()) {
          const { folder, acknowledged } = await run(scene, ['-o', '/dev/null', '-e', `inject=${moment}`]);
          await scene.check(t, folder, acknowledged, `${moment} after ${acknowledged} steps`);
        }
      };
      await Promise.all(Array.from({ length: LANES }, lane));
    });
  }
});

t.test('a decision is on the disk before it is acknowledged', requires('root', 'strace', 'ptrace'), async (t) => {
  const above = t.testdir();
  const [folder, trace] = [join(above, 'data'), join(above, 'trace')];
  const child = await startStore(t);
  await child.ask('open', folder);
  const tracer = await attach(child.pid, ['-o', trace, '-e', `trace=${CALLS.join()},write`]);
  t.match(await child.ask('insertDevice', aDevice('a')), { ok: true });
  tracer.kill('SIGINT');
  await once(tracer, 'exit');
  const calls = [...readFileSync(trace, 'utf8').matchAll(/^\d+ +(\w+)\((?:\d+, "\{\\"ok\\":true(,))?/gm)];
  const acknowledged = calls.findIndex(([, , isOutcome]) => isOutcome !== undefined);
  t.ok(acknowledged > 0, 'it is in the trace');
  const before = calls.slice(0, acknowledged).map(([, name = '']) => name);
  t.match(before.filter((name) => /^pwrite64|sync$/.test(name)).join(' '), /pwrite64 f(data)?sync$/);
});

/** strace counts the calls of each name in each thread, and the first thread that comes so far is where it ends. */
function momentsOf(trace: string): string[] {
  const counts = new Map<string, Map<string, number>>();
  for (const [, thread = '', name = ''] of trace.matchAll(/^(\d+) +(\w+)\(/gm)) {
    const ofName = counts.get(name) ?? new Map<string, number>();
    counts.set(name, ofName.set(thread, (ofName.get(thread) ?? 0) + 1));
  }
  return [...counts].flatMap(([name, ofThreads]) =>
    Array.from({ length: Math.max(...ofThreads.values()) }, (_, at) => at + 1)
      .filter((ordinal) => name !== 'pwrite64' || ordinal % WRITES_APART === 1)
      .map((ordinal) => `${name}:signal=KILL:when=${ordinal}`),
  );
}

async function attach(pid: number, options: readonly string[]): Promise<ChildProcess> {
  const tracer = spawn('strace', ['-f', '-p', String(pid), ...options], { stdio: ['ignore', 'ignore', 'pipe'] });
  await once(tracer.stderr, 'data'); // it tells that it is attached
  return tracer;
}
