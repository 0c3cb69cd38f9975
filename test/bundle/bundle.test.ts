import { readFileSync } from 'node:fs';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import t from 'tap';
import pkg from '../../package.json' with { type: 'json' };
import { requestControl } from '../../src/control/client.ts';
import { prove } from '../../src/srp/client.ts';
import { device, isReady, setKey, statusOf, temporaryFolder } from '../device/support.ts';
import { run } from '../support/processes.ts';
import { freshKeyLine } from '../support/public-keys.ts';
import { requires } from '../support/requires.ts';
import type { Service } from '../support/service.ts';
import { until } from '../support/until.ts';
import { installed, NODES, runInstead } from './support.ts';

const ROOT = resolve(import.meta.dirname, '../../..');
const PIN = '20261121';

t.test('the file holds nothing of the machine that made it, and one byte a character', async (t) => {
  const { folder, program } = await installed(t);
  const text = readFileSync(program, 'utf8');
  t.same((await readdir(folder)).sort(), [
    'tunnel-agent',
    'tunnel-agent.cjs',
    'tunnel-agent.cjs.LEGAL.txt',
    'tunnel-agent.cjs.map',
  ]);
  t.notOk(text.includes(ROOT), 'where it was made');
  t.notMatch(text, /"(\.\.\/)+[^"]*node_modules/, 'where its packages were');
  // V8 would keep all of the text, two million characters, with two bytes each (docs/performance.md).
  t.equal(/[^\u0000-\u007f]/.exec(text)?.[0], undefined, 'a character outside ASCII: write it as \\u in its source');
  t.notMatch(text, /[^.\w]import\(/, 'no import of a module: on Node 22 that of node:http loads all of fetch');
});

for (const [name, nodeFolder] of NODES) {
  t.test(`${name} runs the commands of the one file`, async (t) => {
    const { folder, launcher } = await installed(t);
    const ask = (args: string[], settings: Record<string, string> = {}) =>
      run(launcher, args, { cwd: folder, env: { PATH: `${nodeFolder}:${process.env.PATH}`, ...settings } });

    t.strictSame(await ask(['--version']), { code: 0, stdout: `${pkg.version}\n`, stderr: '' });

    const config = join(folder, 'config.json');
    t.equal((await ask(['config', 'init', '--config', config])).code, 0);
    const checked = await ask(['config', 'check', '--config', config]);
    t.match(checked, { code: 0, stdout: /valid/, stderr: '' });
    const faulty = await ask(['config', 'check', '--config', config], { ZEROFORCE_HTTP_PORT: 'x' });
    t.match(faulty, { code: 78, stderr: /ZEROFORCE_HTTP_PORT/ });

    const empty = { ZEROFORCE_RUN_DIR: join(folder, 'run') };
    t.match(await ask(['status', '--config', config], empty), { code: 1, stderr: /service\.not-running/ });
    t.equal((await ask(['nonsense'])).code, 2);
    const checks = await run(launcher, ['--self-diagnosis'], {
      cwd: folder,
      env: { PATH: `${nodeFolder}:${process.env.PATH}` },
      input: '{"source":\n',
    });
    t.match(checks, { code: 1, stdout: '', stderr: /JSON/ }, 'the process of the checks, without a sensible order');
  });

  t.test(`${name} runs the service out of the one file, and reads it once`, requires('netstat'), async (t) => {
    const { folder, launcher, program } = await installed(t);
    const service = await device(t, {}, { wrapper: runInstead(launcher, nodeFolder) });
    // What is loaded at first use comes from memory: the file may be replaced while the service runs.
    await rm(folder, { recursive: true });
    await until('pairing to open', () => isReady(service));

    t.match(await service.get('/'), /^<!doctype html>[\s\S]*<\/html>\s*$/, 'the status page');
    t.equal((await setKey(service, freshKeyLine())).status, 200, 'a form');
    const form = new FormData();
    form.set('key', freshKeyLine('multipart'));
    const multipart = await fetch(`${service.url}/zeroforce/setkey`, { method: 'POST', body: form });
    t.strictSame([multipart.status, await multipart.json()], [200, { ok: true }], 'a multipart form');
    t.match(readFileSync(service.settings.ZEROFORCE_AUTHORIZED_KEYS_FILE ?? '', 'utf8'), /multipart\n$/);
    t.match(await statusOf(service), { version: pkg.version, faults: [] });

    t.equal(await service.stop(), 0);
    t.notMatch(service.log(), /"level":"(error|fatal)"/);
    t.notOk(service.log().includes(program), 'no stack trace');
  });

  t.test(`${name} proves a PIN out of the one file`, requires('netstat'), async (t) => {
    const { launcher } = await installed(t);
    const settings = { ZEROFORCE_PAIRING_POLICY: 'pin' };
    const service = await device(t, settings, { wrapper: runInstead(launcher, nodeFolder) });
    await requestControl(service.settings.ZEROFORCE_RUN_DIR ?? '', 'POST /pairing/pin', { body: { pin: PIN } });
    const key = freshKeyLine('pin');
    const answer = await until('the PIN to be asked for', () => pairWithPin(service, key));
    t.match(answer, { ok: true, M2: /^[0-9a-f]{128}$/ });
    t.match(readFileSync(service.settings.ZEROFORCE_AUTHORIZED_KEYS_FILE ?? '', 'utf8'), /pin\n$/);
  });
}

t.test('a broken setting ends the launcher with its exit code, at once', async (t) => {
  const { launcher } = await installed(t);
  const folder = temporaryFolder(t);
  await mkdir(join(folder, 'empty'));
  await writeFile(join(folder, 'config.json'), '{ "http": { "port": 0 } }');
  const env = { PATH: process.env.PATH, ZEROFORCE_STATE_DIR: join(folder, 'empty') };
  const { code, stderr } = await run(launcher, ['run', '--config', join(folder, 'config.json')], { env });
  t.equal(code, 78);
  t.match(stderr, /http\.port/);
});

/** null while the device asks for no PIN yet. */
async function pairWithPin(service: Service, key: string): Promise<unknown> {
  const post = (path: string, body?: unknown) =>
    fetch(`${service.url}/zeroforce/pin/${path}`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(body ?? {}),
    });
  const asked = await post('challenge');
  if (asked.status !== 200) return null;
  const challenge = (await asked.json()) as { session: string; salt: string; B: string };
  const { A, M1, mac } = await prove(PIN, challenge, key);
  return (await post('setkey', { session: challenge.session, A, M1, key, mac })).json();
}
