import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { requires } from '../../support/requires.ts';
import { aDevice, anEntry, observed } from '../samples.ts';
import { open, type StoreChild, startStore } from './support.ts';

const needs = requires('root', 'namespaces', 'nsenter');
const FILES = ['gateway.db', 'gateway.db.backup', 'gateway.key', 'gateway.lock'];
const traced = requires('root', 'strace', 'ptrace');

t.test(
  'a full disk: what cannot be stored is refused and told, and later it goes on without a restart',
  needs,
  async (t) => {
    const { child, folder, inside } = await onSmallDisk(t);
    t.match(await child.ask('open', folder), { ok: true, value: [] });
    for (const key of ['a', 'b', 'c']) t.match(await child.ask('insertDevice', aDevice(key)), { ok: true });

    fillUp(inside);
    const stored = ['a', 'b', 'c'];
    let refused = 0;
    for (let at = 0; at < 30; at += 1) {
      // A journal that is there already has room for a few more.
      const outcome = await child.ask('insertDevice', aDevice(`d${at}`, { publicKey: 'x'.repeat(9000) }));
      if (outcome?.ok === true) {
        stored.push(`d${at}`);
        continue;
      }
      refused += 1;
      t.match(outcome, {
        code: 'gateway.store-failed',
        sentence: 'the database could not be used: the disk is full (SQLITE_FULL)',
      });
    }
    t.ok(refused > 10, `${refused} were refused`);
    const batch = observed({
      audit: Array.from({ length: 200 }, (_, at) => anEntry('a', at, { reason: 'x'.repeat(200) })),
      seen: [{ key: 'a', lastSeenAtMs: 77 }],
    });
    t.match(await child.ask('observe', batch), { ok: false, code: 'gateway.store-failed' });
    t.strictSame(
      await child.ask('auditOf', null, 10),
      { ok: true, value: [] },
      'it still reads, and no part of it was written',
    );
    t.match(await child.ask('keepCopy'), { ok: false, code: 'gateway.store-failed' });
    t.notOk(existsSync(join(inside, 'gateway.db.backup')));

    rmSync(join(inside, 'filler'));
    t.match(await child.ask('insertDevice', aDevice('after')), { ok: true });
    t.match(await child.ask('observe', batch), { ok: true });
    t.match(await child.ask('keepCopy'), { ok: true, value: true });
    t.strictSame(await keysIn(child), [...stored, 'after'].sort());
    t.match(await child.ask('close'), { ok: true });
    t.strictSame(readdirSync(inside).sort(), FILES, 'nothing is left behind');
    t.match(await child.ask('open', folder), { ok: true });
    t.strictSame(await keysIn(child), [...stored, 'after'].sort());
  },
);

for (const [how, end] of [
  ['stopped', async (child: StoreChild) => void (await child.ask('close'))],
  ['killed', (child: StoreChild) => child.kill()],
] as const) {
  t.test(
    `a disk that is full at the start, after it was ${how}: all is there for those who connect`,
    needs,
    async (t) => {
      const { child, folder, enter } = await onSmallDisk(t);
      await child.ask('open', folder);
      await child.ask('insertDevice', aDevice('a'));
      // A process of its own keeps the disk.
      const next = await startStore(t, enter);
      await end(child);
      const inside = insideOf(next, folder);
      fillUp(inside);
      t.strictSame(await next.ask('open', folder), { ok: true, value: ['a'] });
      const big = aDevice('b', { publicKey: 'x'.repeat(100_000) });
      t.match(await next.ask('insertDevice', big), {
        ok: false,
        code: 'gateway.store-failed',
        sentence: /the disk is full/,
      });
      rmSync(join(inside, 'filler'));
      t.match(await next.ask('insertDevice', big), { ok: true });
      t.match(await next.ask('close'), { ok: true });
      t.strictSame(await next.ask('open', folder), { ok: true, value: ['a', 'b'] });
    },
  );
}

t.test(
  'a first start on a full disk fails, and leaves nothing that a later one would stumble over',
  needs,
  async (t) => {
    const { child, folder, inside } = await onSmallDisk(t);
    fillUp(inside, 8192);
    t.match(await child.ask('open', folder), { ok: false, code: 'gateway.store-failed', sentence: /full/ });
    t.strictSame(readdirSync(inside).sort(), ['filler', 'gateway.lock']);
  },
);

for (const [error, why] of [
  ['EROFS', /the disk (or the file is read-only|reports an error)/],
  ['EIO', /the disk reports an error/],
] as const) {
  t.test(
    `a disk that answers ${error} to whatever is written: refused and told, and it goes on afterwards`,
    traced,
    async (t) => {
      const folder = join(t.testdir(), 'data');
      const child = await startStore(t);
      await child.ask('open', folder);
      await child.ask('insertDevice', aDevice('a'));
      const heal = await spoilWrites(child.pid, error);
      t.match(await child.ask('insertDevice', aDevice('b')), {
        ok: false,
        code: 'gateway.store-failed',
        sentence: why,
      });
      t.strictSame(await keysIn(child), ['a']);
      t.match(await child.ask('keepCopy'), { ok: false, code: 'gateway.store-failed' });
      await heal();
      t.match(await child.ask('insertDevice', aDevice('c')), { ok: true });
      t.match(await child.ask('keepCopy'), { ok: true, value: true });
      await child.kill();
      const { store, fleet } = await open(folder);
      t.strictSame(fleet.devices.map(({ key }) => key).sort(), ['a', 'c']);
      await store.close();
      t.strictSame(readdirSync(folder).sort(), FILES, 'what could not be removed then is removed now');
    },
  );
}

t.test('a read-only disk at the start is told', needs, async (t) => {
  const { child, folder, enter } = await onSmallDisk(t);
  await child.ask('open', folder);
  const next = await startStore(t, enter);
  await child.kill();
  const remount = (mode: string) => {
    const target = ['nsenter', '-t', String(next.pid), '-m', 'mount', '-o', `remount,${mode}`, 'none', folder] as const;
    execFileSync(target[0], target.slice(1));
  };
  remount('ro');
  t.match(await next.ask('open', folder), { ok: false, code: 'gateway.data-dir-unusable', sentence: /read-?only/ });
  remount('rw');
  t.match(await next.ask('open', folder), { ok: true });
});

/** From now on every write of that process to a file fails. Gives what ends that. */
async function spoilWrites(pid: number, error: string): Promise<() => Promise<void>> {
  const calls = 'pwrite64,fsync,fdatasync,ftruncate,rename,unlink';
  const args = [
    '-f',
    '-o',
    '/dev/null',
    '-e',
    `trace=${calls}`,
    '-e',
    `inject=${calls}:error=${error}`,
    '-p',
    String(pid),
  ];
  const strace = spawn('strace', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  await once(strace.stderr, 'data'); // it tells that it is attached
  return async () => {
    strace.kill('SIGINT');
    await once(strace, 'exit');
  };
}

/** A store process with 400 KB of disk of its own; its data folder is the top of that disk. */
async function onSmallDisk(t: Test) {
  const folder = t.testdir();
  const command = 'mount -t tmpfs -o size=400k,mode=0700 none "$1" && shift && exec "$@"';
  const child = await startStore(t, ['unshare', '-m', 'sh', '-c', command, 'sh', folder]);
  const enter = ['nsenter', '-t', String(child.pid), '-m'];
  return {
    child,
    folder,
    inside: insideOf(child, folder),
    enter,
  };
}

/** A folder as that process sees it. */
function insideOf(child: StoreChild, folder: string): string {
  return join('/proc', String(child.pid), 'root', folder);
}

function fillUp(folder: string, leaveBytes = 0): void {
  const filler = join(folder, 'filler');
  try {
    for (;;) writeFileSync(filler, Buffer.alloc(4096), { flag: 'a' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  }
  if (leaveBytes > 0) execFileSync('truncate', ['-s', `-${leaveBytes}`, filler]);
}

async function keysIn(child: StoreChild): Promise<string[]> {
  const outcome = await child.ask('load');
  if (outcome?.ok !== true) throw new Error(JSON.stringify(outcome));
  return (outcome.value as { devices: { key: string }[] }).devices.map((device) => device.key).sort();
}
