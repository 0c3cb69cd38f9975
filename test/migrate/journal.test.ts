import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { readJournal } from '../../src/migrate/journal.ts';
import { merged } from '../../src/migrate/steps.ts';
import { takeLock, workerOf } from '../../src/migrate/worker.ts';

t.test('a damaged journal is never taken for none: somebody has to look what is to be put back', async (t) => {
  const folder = t.testdir({ 'migration.json': '{"version":1,"phase":"mov' });
  await t.rejects(readJournal(folder), {
    code: 'state.unreadable',
    message: /migration\.json could not be read: it is damaged/,
  });
  writeFileSync(join(folder, 'migration.json'), '{"version":2,"phase":"moving","entries":[]}');
  await t.rejects(readJournal(folder), { code: 'state.unreadable' });
  t.equal(await readJournal(t.testdir({})), null);
});

t.test('of two migrations at once the second refuses, and names the first', async (t) => {
  const folder = t.testdir({});
  const release = await takeLock(folder);
  t.equal(workerOf(folder), process.pid);
  await t.rejects(takeLock(folder), { code: 'migrate.running', message: new RegExp(`process ${process.pid}`) });
  await release();
  t.equal(workerOf(folder), null);
  writeFileSync(join(folder, 'migration.lock'), `${process.pid} 1 of-another-boot\n`);
  await (await takeLock(folder))(); // of a process that was killed
});

t.test('a second migration keeps what the first has taken, so that one undo puts back all of it', async (t) => {
  const taken = (name: string, running: boolean) => ({
    ...{ kind: 'systemd' as const, name, parts: [], enabled: true, running, disable: [], stop: [], start: [] },
  });
  const text = (before: string | null, after: string) =>
    ({ change: 'text', path: '/c', before, after, mode: 0o600 }) as const;
  const journal = {
    ...{ version: 1 as const, phase: 'done' as const, init: 'systemd' as const, configFile: '/c', runDir: '/run/z' },
    ...{ httpPort: 5000, markPaired: true, paired: true, expect: { session: true, http: true }, withinMs: 1 },
    ...{ ours: { enabled: false, running: false }, failure: null, done: [] },
  };
  const first = { ...journal, entries: [taken('a', true), taken('b', true)], config: text(null, 'one') };
  const next = { ...journal, phase: 'moving' as const, entries: [taken('b', false)], config: text('one', 'two') };
  const all = merged(first, { ...next, ours: { enabled: true, running: true } });
  t.strictSame(
    all.entries.map(({ name, running }) => [name, running]),
    [
      ['a', true],
      ['b', false],
    ],
  );
  t.strictSame(all.config, text(null, 'two'));
  t.strictSame(all.ours, { enabled: false, running: false });
  t.strictSame(merged({ ...first, phase: 'undone' }, next), next, 'after an undo nothing is kept');
});
