import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type LoadedConfig, loadConfig } from '../../src/config/load.ts';
import type { OptionKey } from '../../src/config/options.ts';
import type { Notice } from '../../src/config/resolve.ts';
import type { Config } from '../../src/config/types.ts';
import { Reloader } from '../../src/reload.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { testLog } from '../support/test-log.ts';
import { until } from '../support/until.ts';

const LOOK_MS = 5_000;

/** A reloader on a real file, and a target that writes down what it is told. */
async function setUp(t: Test, content: object) {
  const file = join(t.testdir({}), 'config.json');
  const write = (next: object | string) =>
    writeFileSync(file, typeof next === 'string' ? next : JSON.stringify(next), { mode: 0o600 });
  write(content);
  const load = () => loadConfig({ env: {}, configFile: file, mustExist: true, strict: true });
  const told: { config: Config; changed: readonly OptionKey[]; codes: string[] }[] = [];
  const target = {
    idle: true,
    isIdle: () => target.idle,
    reconfigure(config: Config, changed: readonly OptionKey[], notices: readonly Notice[]) {
      told.push({ config, changed, codes: notices.map(({ code }) => code) });
      return Promise.resolve();
    },
  };
  const applied: LoadedConfig[] = [];
  const onApplied = (loaded: LoadedConfig) => Promise.resolve(void applied.push(loaded));
  const clock = new FakeClock();
  const { log } = testLog();
  const reloader = new Reloader({ target, loaded: await load(), load, onApplied, clock, log });
  reloader.start();
  t.teardown(() => reloader.stop());
  /** Lets one look pass, and waits for what it leads to. */
  const look = async (count: number) => {
    clock.advance(LOOK_MS);
    await until('the target to be told', () => told.length === count);
    return told[count - 1];
  };
  return { file, write, reloader, clock, target, told, applied, look };
}

t.test('a changed file is taken on by itself, and only what has changed', async (t) => {
  const { write, clock, told, applied, look } = await setUp(t, { transport: 'none' });
  clock.advance(4 * LOOK_MS);
  t.equal(told.length, 0, 'an unchanged file is left alone');
  write({ transport: 'none', pairing: { timeoutSeconds: 60 } });
  t.match(await look(1), {
    changed: ['pairing.timeoutSeconds'],
    config: { pairing: { timeoutMs: 60_000 } },
    codes: [],
  });
  await until('it to be kept as the last good one', () => applied.length === 1);
  clock.advance(4 * LOOK_MS);
  t.equal(told.length, 1);
});

t.test('a request reads the file at once, changed or not', async (t) => {
  const { reloader, told } = await setUp(t, { transport: 'none' });
  await reloader.reload();
  t.match(told, [{ changed: [], codes: [] }]);
});

for (const [what, broken] of [
  ['no JSON', '{"transport":'],
  ['a wrong value', '{"transport":"none","http":{"port":70000}}'],
  ['an unknown key', '{"transport":"none","prot":1}'],
] as const) {
  t.test(`${what} changes nothing but the notices, until the file is mended`, async (t) => {
    const { write, applied, look } = await setUp(t, { transport: 'none' });
    write(broken);
    t.match(await look(1), { changed: [], codes: ['config.refused'], config: { http: { port: 5000 } } });
    t.equal(applied.length, 0);
    write({ transport: 'none', http: { port: 5001 } });
    t.match(await look(2), { changed: ['http.port'], codes: [], config: { http: { port: 5001 } } });
  });
}

t.test('a file that was removed changes nothing but the notices', async (t) => {
  const { file, look } = await setUp(t, { transport: 'none', logLevel: 'debug' });
  rmSync(file);
  t.match(await look(1), { changed: [], codes: ['config.refused'], config: { logLevel: 'debug' } });
});

t.test('what ends the session waits until no stream is open; what needs a restart is named', async (t) => {
  const meeting = { deviceKey: 'k', token: 't', proxy: { host: 'a.example' } };
  const { write, target, told, clock, look } = await setUp(t, { meeting });
  target.idle = false;
  write({ meeting: { ...meeting, proxy: { host: 'b.example' } }, stateDir: '/var/lib/other' });
  t.match(await look(1), {
    changed: [],
    codes: ['config.not-yet', 'config.not-yet'],
    config: { meeting: { proxy: { host: 'a.example' } } },
  });
  clock.advance(LOOK_MS);
  t.equal(told.length, 1, 'streams are still open');
  target.idle = true;
  t.match(await look(2), {
    changed: ['meeting.proxy.host'],
    codes: ['config.not-yet'],
    config: { meeting: { proxy: { host: 'b.example' } }, stateDir: '/var/lib/zeroforce' },
  });
});

t.test('a reload that is under way replaces what waits', async (t) => {
  const meeting = { deviceKey: 'k', token: 't', proxy: { host: 'a.example' } };
  const { write, reloader, target, told, clock, look } = await setUp(t, { meeting });
  target.idle = false;
  write({ meeting: { ...meeting, proxy: { host: 'b.example' } } });
  await look(1);
  write({ meeting: { ...meeting, proxy: { host: 'c.example' } } });
  const reloading = reloader.reload();
  await Promise.resolve(); // the file counts as looked at, and is being read
  target.idle = true;
  clock.advance(LOOK_MS);
  await reloading;
  await reloader.stop();
  t.equal(told.at(-1)?.config.meeting?.proxy.host, 'c.example');
});

t.test('a file that breaks while values wait is still refused when they are taken on', async (t) => {
  const { write, target, look } = await setUp(t, { transport: 'none' });
  target.idle = false;
  write({ transport: 'ssh', ssh: { host: 'gateway', trustFirst: true, token: 'abc' } });
  t.match(await look(1), { changed: [], codes: ['config.not-yet'] });
  write('{"transport":');
  t.match(await look(2), { codes: ['config.not-yet', 'config.refused'] });
  target.idle = true;
  const taken = await look(3);
  t.ok(taken?.changed.includes('transport'));
  t.strictSame(taken?.codes, ['config.refused']);
  write({ transport: 'none' });
  t.strictSame((await look(4))?.codes, []);
});

t.test('after the stop nothing is read and no timer is left', async (t) => {
  const { write, reloader, clock, told } = await setUp(t, {});
  await reloader.stop();
  write({ logLevel: 'debug' });
  await reloader.reload();
  t.equal(clock.pending, 0);
  t.equal(told.length, 0);
});
