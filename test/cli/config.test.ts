import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { OPTION_KEYS } from '../../src/config/options.ts';
import { run } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { PROGRAM, tunnelAgent } from '../support/service.ts';

const TOKEN = 'feed5ec2e7ab';

t.test('config init writes a file of mode 0600 that passes the check, whatever the umask', async (t) => {
  const file = join(folder(t), 'new', 'config.json');
  const before = process.umask(0);
  const made = await tunnelAgent(['config', 'init', '--config', file]);
  process.umask(before);
  t.strictSame(made, {
    code: 0,
    stdout: `Wrote ${file}. Edit it, then run: tunnel-agent config check --config ${file}\n`,
    stderr: '',
  });
  t.equal(statSync(file).mode & 0o777, 0o600);
  t.equal(statSync(join(file, '..')).mode & 0o777, 0o755);
  t.match(await tunnelAgent(['config', 'check', '--config', file]), {
    code: 0,
    stdout: 'The configuration is valid (file).',
    stderr: '',
  });
});

t.test('config init never replaces a file, a link included, unless it is told to', async (t) => {
  const file = join(folder(t), 'config.json');
  writeFileSync(file, 'precious', { mode: 0o644 });
  const refused = await tunnelAgent(['config', 'init', '--config', file]);
  t.match(refused, { code: 1, stdout: '', stderr: `${file} exists already and was left as it is` });
  t.match(refused.stderr, /config\.exists: .*--force/);
  t.equal(readFileSync(file, 'utf8'), 'precious');

  t.match(await tunnelAgent(['config', 'init', '--force', '--config', file]), { code: 0, stderr: '' });
  t.equal(statSync(file).mode & 0o777, 0o600);
  t.match(await tunnelAgent(['config', 'check', '--config', file]), { code: 0 });
});

t.test('config init names a place that cannot be written', async (t) => {
  const dir = folder(t);
  writeFileSync(join(dir, 'file'), '');
  const { code, stderr } = await tunnelAgent(['config', 'init', '--config', join(dir, 'file', 'config.json')]);
  t.equal(code, 1);
  t.match(stderr, /^tunnel-agent: cannot write .*file\/config\.json: .*\n {2}config\.unwritable: /);
});

t.test('config check lists every fault of file and environment, and exits 78', async (t) => {
  const file = join(folder(t), 'config.json');
  writeFileSync(file, `{"http": {"port": "many"}, "tunel": {}, "meeting": {"token": ["${TOKEN}"]}}`, { mode: 0o600 });
  const { code, stdout, stderr } = await tunnelAgent(['config', 'check', '--config', file], { LOG_LEVEL: 'loud' });
  t.equal(code, 78);
  t.equal(stdout, '');
  for (const part of [
    'http.port = "many"',
    'tunel',
    'meeting.token',
    'LOG_LEVEL = "loud"',
    `from: ${file}`,
    'from: environment',
  ]) {
    t.match(stderr, part);
  }
  t.notMatch(stderr, TOKEN);
  t.notMatch(stderr, /^\s+at /m);
});

t.test('config check is strict: the last good configuration does not hide a broken file', async (t) => {
  const dir = folder(t);
  const file = join(dir, 'config.json');
  writeFileSync(file, '{');
  writeFileSync(join(dir, 'config.last-good.json'), '{}');
  const settings = { ZEROFORCE_STATE_DIR: dir };
  const checked = await tunnelAgent(['config', 'check', '--config', file], settings);
  t.match(checked, { code: 78, stderr: 'line 1, column 2' });
  const shown = await tunnelAgent(['config', 'show', '--config', file], settings);
  t.match(shown, { code: 0, stdout: `${file} is broken; this is the configuration that last worked.` });
});

t.test('config check tells what is no fault but of note', async (t) => {
  const file = join(folder(t), 'config.json');
  writeFileSync(file, '{}');
  const { code, stdout } = await tunnelAgent(['config', 'check', '--config', file], { ZEROFORCE_HTTP_PROT: '1' });
  t.equal(code, 0);
  t.match(stdout, /^note: ZEROFORCE_HTTP_PROT is not an option.*ZEROFORCE_HTTP_PORT/m);
  t.match(stdout, /^note: .*pairing/m);
});

t.test('config show prints every setting and where it comes from, secrets masked', async (t) => {
  const file = join(folder(t), 'config.json');
  writeFileSync(file, '{"http": {"port": 5001}}', { mode: 0o600 });
  const settings = { MEETING_TOKEN: TOKEN, MEETING_DEVICE_KEY: 'key', MEETING_PROXY_HOST: 'proxy.example' };
  const text = await tunnelAgent(['config', 'show', '--config', file], settings);
  t.match(text, { code: 0, stderr: '' });
  t.match(text.stdout, new RegExp(`^http\\.port +5001 +${file}$`, 'm'));
  t.match(text.stdout, /^meeting\.token +"\[secret\]" +environment$/m);
  t.match(text.stdout, /^tunnel\.port +8007 +default$/m);
  t.match(text.stdout, /\n$/);
  t.notMatch(text.stdout, TOKEN);

  const json = await tunnelAgent(['config', 'show', '--json', '--config', file], settings);
  const shown = JSON.parse(json.stdout) as { settings: { key: string }[] };
  t.match(shown, { origin: 'file', file });
  t.strictSame(
    shown.settings.map(({ key }) => key),
    OPTION_KEYS,
  );
  t.notMatch(json.stdout, TOKEN);
});

t.test('a file that may not be read is named', requires('root', 'setpriv'), async (t) => {
  const dir = folder(t);
  const file = join(dir, 'config.json');
  writeFileSync(file, '{}', { mode: 0o000 });
  // Root without the right to pass over modes: another user might not get as far as this checkout.
  const caps = '-dac_override,-dac_read_search';
  const args = [`--bounding-set=${caps}`, `--inh-caps=${caps}`, PROGRAM, 'config', 'check', '--config', file];
  const { code, stderr } = await run('setpriv', args, { env: { PATH: process.env.PATH } });
  t.equal(code, 78);
  t.match(stderr, file);
});

function folder(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'zeroforce-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}
