import { mkdirSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { EverPaired } from '../../src/pairing/ever-paired.ts';

t.test('a device that was never paired says so, and reading writes nothing', async (t) => {
  const stateDir = join(t.testdir(), 'state');
  t.equal(await new EverPaired({ stateDir }).read(), false);
  mkdirSync(stateDir);
  t.equal(await new EverPaired({ stateDir }).read(), false);
  t.same(readdirSync(stateDir), []);
});

t.test('what is remembered survives a restart', async (t) => {
  const stateDir = join(t.testdir(), 'deep', 'state');
  await new EverPaired({ stateDir }).remember();
  t.equal(await new EverPaired({ stateDir }).read(), true);
  t.equal(statSync(stateDir).mode & 0o777, 0o700);
  t.equal(statSync(join(stateDir, 'ever-paired')).mode & 0o777, 0o600);
  t.same(readdirSync(stateDir), ['ever-paired']);
});

t.test('it is written once only, however often it is asked for: a card wears with every write', async (t) => {
  const stateDir = t.testdir();
  const everPaired = new EverPaired({ stateDir });
  await everPaired.remember();
  const { ino, mtimeMs, ctimeMs } = statSync(join(stateDir, 'ever-paired'));
  const folder = statSync(stateDir).mtimeMs;
  await everPaired.remember();
  await new EverPaired({ stateDir }).remember();
  t.match(statSync(join(stateDir, 'ever-paired')), { ino, mtimeMs, ctimeMs });
  t.equal(statSync(stateDir).mtimeMs, folder, 'not even a temporary file');
});

t.test('forgotten by a reset, it can be written again', async (t) => {
  const stateDir = t.testdir();
  const everPaired = new EverPaired({ stateDir });
  await everPaired.remember();
  await everPaired.forget();
  t.equal(await everPaired.read(), false);
  t.same(readdirSync(stateDir), []);
  await t.resolves(everPaired.forget(), 'what is not there is forgotten already');
  await t.resolves(new EverPaired({ stateDir: join(stateDir, 'none') }).forget());
  await everPaired.remember();
  t.equal(await everPaired.read(), true);
});

t.test('a marker that is damaged counts as paired: the safe side', async (t) => {
  const damages: Record<string, (path: string) => void> = {
    empty: (path) => writeFileSync(path, ''),
    garbage: (path) => writeFileSync(path, Buffer.alloc(4096, 0xff)),
    'a folder': (path) => mkdirSync(path),
    'a link to nothing': (path) => symlinkSync('/nowhere/at/all', path),
    'a link to itself': (path) => symlinkSync('ever-paired', path),
  };
  for (const [name, damage] of Object.entries(damages)) {
    const stateDir = join(t.testdir(), 'state');
    mkdirSync(stateDir);
    damage(join(stateDir, 'ever-paired'));
    t.equal(await new EverPaired({ stateDir }).read(), true, name);
    await t.resolves(new EverPaired({ stateDir }).remember(), name);
    await new EverPaired({ stateDir }).forget();
    t.equal(await new EverPaired({ stateDir }).read(), false, `${name}, forgotten`);
  }
});

t.test('where the state folder cannot be read or written, the reason is told', async (t) => {
  const stateDir = join(t.testdir({ file: 'no folder' }), 'file');
  const everPaired = new EverPaired({ stateDir });
  await t.rejects(everPaired.read(), {
    code: 'state.unreadable',
    message: /ever-paired could not be read: not a directory/,
  });
  await t.rejects(everPaired.remember(), {
    code: 'state.unwritable',
    message: /ever-paired could not be written: not a directory/,
  });
  await t.rejects(everPaired.forget(), {
    code: 'state.unwritable',
    message: /ever-paired could not be removed: not a directory/,
  });
  rmSync(stateDir);
  t.equal(await everPaired.read(), false);
  await t.resolves(everPaired.remember(), 'and the next call tries again');
});
