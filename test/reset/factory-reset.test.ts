import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { FactoryReset, type FactoryResetOptions, type ResetSource } from '../../src/reset/factory-reset.ts';
import { ResetJournal } from '../../src/reset/journal.ts';
import { Failure } from '../../src/support/failures.ts';
import { testLog } from '../support/test-log.ts';

/** A power cut: nothing after it happens. */
const NEVER = new Promise<never>(() => undefined);

/** A reset on real files whose steps only take notes. A new one on the same folder is the next start. */
function boot(folder: string, steps: Partial<FactoryResetOptions> = {}) {
  const stateDir = join(folder, 'state');
  const bootFile = join(folder, 'zeroforce-reset');
  const done: string[] = [];
  const { log, lines } = testLog();
  const reset = new FactoryReset({
    bootFile,
    journal: new ResetJournal(stateDir),
    resetPairing: async () => void done.push('pairing'),
    record: async (source) => void done.push(`record ${source}`),
    endSessions: async () => {
      done.push('sessions');
      return { ended: 2, left: [], hidden: 0 };
    },
    log,
    ...steps,
  });
  return { reset, done, lines, stateDir, bootFile, journal: join(stateDir, 'reset.json') };
}

const whole = (source: ResetSource) => ['pairing', `record ${source}`, 'sessions'];

t.test('pairing first, so that nobody comes back; then the record and the sessions', async (t) => {
  const { reset, done, journal, lines } = boot(t.testdir());
  t.strictSame(await reset.run('local'), { ended: 2, left: [], hidden: 0 });
  t.strictSame(done, whole('local'));
  t.strictSame(JSON.parse(readFileSync(journal, 'utf8')), { bootFile: null, underWay: null });
  t.equal(statSync(journal).mode & 0o777, 0o600);
  t.match(lines, [{ source: 'local', sessions: { ended: 2 }, msg: /pairing was reset/ }]);
  t.equal(reset.failure(), null);
});

t.test('two at once run one after the other', async (t) => {
  const { reset, done } = boot(t.testdir());
  await Promise.all([reset.run('local'), reset.run('button')]);
  t.strictSame(done, [...whole('local'), ...whole('button')]);
});

t.test('a start without a reset file does nothing and writes nothing', async (t) => {
  const { reset, done, stateDir } = boot(t.testdir());
  await reset.atStart();
  t.strictSame(done, []);
  t.throws(() => statSync(stateDir), { code: 'ENOENT' });
});

t.test('the boot file resets once for each content, the empty one too; taking it away forgets nothing', async (t) => {
  const folder = t.testdir();
  const start = async () => {
    const { reset, done } = boot(folder);
    await reset.atStart();
    return done;
  };
  const { bootFile } = boot(folder);
  for (const content of ['', 'once more', '']) {
    writeFileSync(bootFile, content);
    t.strictSame(await start(), whole('boot file'), JSON.stringify(content));
    t.strictSame(await start(), []);
  }
  rmSync(bootFile);
  t.strictSame(await start(), []);
  writeFileSync(bootFile, '');
  t.strictSame(await start(), [], 'put back as it was');
  await boot(folder).reset.run('local');
  t.strictSame(await start(), [], 'another reset does not make it new');
});

t.test('what was acted on is on the disk before anything is reset', async (t) => {
  const folder = t.testdir({ 'zeroforce-reset': 'now' });
  const { reset, journal } = boot(folder, {
    resetPairing: async () => {
      t.match(JSON.parse(readFileSync(journal, 'utf8')), { bootFile: /^[0-9a-f]{64}$/, underWay: 'boot file' });
    },
  });
  await reset.atStart();
  t.plan(1);
});

for (const by of ['local', 'boot file', 'button'] as const) {
  for (const step of ['resetPairing', 'endSessions'] as const) {
    t.test(`cut in ${step} of a reset by ${by}: the next start completes it, once`, async (t) => {
      const folder = t.testdir(by === 'boot file' ? { 'zeroforce-reset': 'now' } : {});
      let reached: () => void = () => undefined;
      const cut = new Promise<void>((resolve) => {
        reached = resolve;
      });
      const first = boot(folder, {
        [step]: () => {
          reached();
          return NEVER;
        },
      });
      void (by === 'boot file' ? first.reset.atStart() : first.reset.run(by));
      await cut;

      const second = boot(folder);
      await second.reset.atStart();
      t.strictSame(second.done, whole(by));
      t.ok(second.lines.some(({ msg }) => msg.includes('was cut short')));
      const third = boot(folder);
      await third.reset.atStart();
      t.strictSame(third.done, []);
    });
  }
}

t.test('the state folder cannot be written: the boot file is not acted on, and the status says so', async (t) => {
  const folder = t.testdir({ 'zeroforce-reset': 'now', state: 'a file' });
  const { reset, done, lines } = boot(folder);
  await reset.atStart();
  t.strictSame(done, []);
  t.match(reset.failure(), { code: /^state\.un(read|writ)able$/ });
  t.ok(lines.some(({ level }) => level === 'error'));
});

t.test('nor is it where the state can be read but not written, as on a disk that became read-only', async (t) => {
  const journal = {
    read: async () => ({ bootFile: null, underWay: null }),
    write: () => Promise.reject(new Failure('state.unwritable', 'read-only file system')),
  };
  const { reset, done } = boot(t.testdir({ 'zeroforce-reset': 'now' }), { journal });
  await reset.atStart();
  t.strictSame(done, []);
  t.match(reset.failure(), { code: 'state.unwritable' });
});

t.test('the state folder cannot be written: command and button reset all the same', async (t) => {
  const { done, reset, lines } = boot(t.testdir({ state: 'a file' }));
  await reset.run('local');
  t.strictSame(done, whole('local'));
  t.ok(lines.some(({ msg }) => msg.includes('would not be completed after a power cut')));
});

t.test('a damaged memory resets nothing: the boot file that is there counts as acted on', async (t) => {
  for (const damage of ['', '{', '[]', 'null', '{"bootFile":1,"underWay":null}', '\0\0\0\0']) {
    const folder = t.testdir({ 'zeroforce-reset': 'now', state: { 'reset.json': damage } });
    const first = boot(folder);
    await first.reset.atStart();
    t.strictSame(first.done, [], damage);
    t.match(first.reset.failure(), { code: 'state.unreadable', message: /could not be read: it is damaged$/ });
    const second = boot(folder);
    await second.reset.atStart();
    t.strictSame(second.done, [], damage);
    t.equal(second.reset.failure(), null, 'and the memory is whole again');
    writeFileSync(second.bootFile, 'another content');
    await second.reset.atStart();
    t.strictSame(second.done, whole('boot file'));
  }
});

t.test('a step that fails is told, and a reset by command is not done at the next start', async (t) => {
  const folder = t.testdir();
  const failure = new Failure('key.unwritable', 'the disk is dying');
  const failing = boot(folder, { resetPairing: () => Promise.reject(failure) });
  await t.rejects(failing.reset.run('local'), failure);
  t.strictSame(failing.done, [], 'and the sessions stay');
  const next = boot(folder);
  await next.reset.atStart();
  t.strictSame(next.done, []);
});

t.test('a boot file whose reset failed is tried again at the next start', async (t) => {
  const folder = t.testdir({ 'zeroforce-reset': 'now' });
  const failing = boot(folder, {
    resetPairing: () => Promise.reject(new Failure('key.unwritable', 'the disk is dying')),
  });
  await failing.reset.atStart();
  t.match(failing.reset.failure(), { code: 'key.unwritable' });
  const next = boot(folder);
  await next.reset.atStart();
  t.strictSame(next.done, whole('boot file'));
});

t.test('a reset file that cannot be read is reported, and the service starts', async (t) => {
  const folder = t.testdir();
  const { reset, bootFile, done } = boot(folder);
  mkdirSync(bootFile);
  await reset.atStart();
  t.match(reset.failure(), { code: 'reset.file-unreadable' });
  t.strictSame(done, []);
});
