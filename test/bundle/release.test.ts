import { readFileSync } from 'node:fs';
import { cp, mkdir, readFile, symlink, truncate } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import t from 'tap';
import pkg from '../../package.json' with { type: 'json' };
import { bundleGateway } from '../../scripts/bundle.ts';
import { release } from '../../scripts/release.ts';
import { temporaryFolder } from '../device/support.ts';
import { run } from '../support/processes.ts';
import { requires } from '../support/requires.ts';

const ROOT = resolve(import.meta.dirname, '../../..');
const NAME = `zeroforce-agent-${pkg.version}`;
/** All that programs and releases are made of. */
const CHECKOUT = ['bin', 'board', 'build', 'package.json', 'scripts', 'src', 'tsconfig.json'];

const made = temporaryFolder(t);
const archive = await release(made);
const sh = (script: string, cwd: string) => run('sh', ['-euc', script], { cwd, env: { PATH: process.env.PATH } });

t.test('another checkout, day, zone, mask and language give the same bytes', requires('faketime'), async (t) => {
  const other = join(temporaryFolder(t), 'another checkout');
  for (const part of CHECKOUT) await cp(join(ROOT, part), join(other, part), { recursive: true });
  await symlink(join(ROOT, 'node_modules'), join(other, 'node_modules'));
  const script = 'umask 077; for made in bundle release; do node "$1/build/scripts/$made.js" || exit; done';
  const env = { PATH: process.env.PATH, TZ: 'Asia/Tokyo', LC_ALL: 'C.UTF-8', HOME: other };
  const there = await run('faketime', ['-f', '+400d', 'sh', '-c', script, 'sh', other], {
    cwd: other,
    env,
    timeoutMs: 100_000,
  });
  t.match(there, { code: 0 });

  const unpacked = join(temporaryFolder(t), NAME);
  await sh(`tar -xzf ${archive} -C ${join(unpacked, '..')}`, made);
  await bundleGateway(unpacked);
  const same = (folder: string, names: readonly string[]) => {
    for (const name of names) {
      t.ok(readFileSync(join(folder, name)).equals(readFileSync(join(other, 'dist', name))), name);
    }
  };
  same(made, [`${NAME}.tar.gz`, `${NAME}.map`, 'SHA256SUMS']);
  same(unpacked, ['tunnel-agent', 'tunnel-agent.cjs', 'tunnel-agent.cjs.LEGAL.txt']);
  same(unpacked, ['tunnel-gateway', 'tunnel-gateway.cjs', 'tunnel-gateway.cjs.LEGAL.txt', 'tunnel-gateway.cjs.map']);
});

t.test('it holds what is installed, for everybody to read and for nobody to own', async (t) => {
  const { stdout } = await run('tar', ['--numeric-owner', '-tvzf', archive], { env: { PATH: process.env.PATH } });
  const files = new Map<string, string>();
  for (const line of stdout.trim().split('\n')) {
    const [, mode = '', path = ''] = /^(\S+ \S+) .* (\S+)$/.exec(line) ?? [];
    files.set(path.slice(NAME.length + 1), mode);
  }
  t.strictSame(
    new Set(files.values()),
    new Set(['drwxr-xr-x 0/0', '-rw-r--r-- 0/0', '-rwxr-xr-x 0/0']),
    'modes and owners',
  );
  for (const program of ['tunnel-agent', 'install.sh', 'init/S70zeroforce', 'init/zeroforce.openrc']) {
    t.match(files.get(program), '-rwx', program);
  }
  for (const file of [
    'VERSION',
    'SHA256SUMS',
    'tunnel-agent.cjs',
    'tunnel-agent.cjs.LEGAL.txt',
    'config/beamer.json',
  ]) {
    t.match(files.get(file), '-rw-', file);
  }
  for (const folder of ['init', 'sshd', 'sysctl', 'man', 'completion', 'config']) {
    t.ok(
      [...files.keys()].some((path) => path.startsWith(`${folder}/`) && !path.endsWith('/')),
      folder,
    );
  }
  t.notOk(files.has('tunnel-agent.cjs.map'), 'the source map lies apart');
});

t.test('its sums cover every file, and tell a half-written program or archive', async (t) => {
  const folder = temporaryFolder(t);
  await sh(`tar -xzf ${archive}`, folder);
  const unpacked = join(folder, NAME);
  const check = () => sh('sha256sum --check --strict --quiet SHA256SUMS', unpacked);
  t.match(await check(), { code: 0, stdout: '' });
  const missing = await sh(
    'find . -type f | sed \'s,^./,,\' | sort | { while read f; do grep -qF "  $f" SHA256SUMS || echo "$f"; done; }',
    unpacked,
  );
  t.equal(missing.stdout, 'SHA256SUMS\n', 'all but the sums themselves');

  await truncate(join(unpacked, 'tunnel-agent.cjs'), 1_000_000);
  t.match(await check(), { code: 1, stdout: 'tunnel-agent.cjs: FAILED\n' });

  await mkdir(join(folder, 'received'));
  await cp(made, join(folder, 'received'), { recursive: true });
  const received = () => sh('sha256sum --check --strict --quiet SHA256SUMS', join(folder, 'received'));
  t.match(await received(), { code: 0 });
  const { length } = await readFile(archive);
  await truncate(join(folder, 'received', `${NAME}.tar.gz`), Math.floor(length / 2));
  t.match(await received(), { code: 1, stdout: `${NAME}.tar.gz: FAILED\n` });
});

t.test('a release of another version calls itself so, everywhere', async (t) => {
  const folder = temporaryFolder(t);
  await release(folder, '9.8.7');
  const { stdout } = await sh(
    'tar -xzf zeroforce-agent-9.8.7.tar.gz; cd zeroforce-agent-9.8.7; cat VERSION; ./tunnel-agent --version',
    folder,
  );
  t.equal(stdout, '9.8.7\n9.8.7\n');
});

t.test('a program without its file, or with the half of it, says so and fails', async (t) => {
  const folder = temporaryFolder(t);
  await sh(`tar -xzf ${archive}`, folder);
  const program = join(folder, NAME, 'tunnel-agent.cjs');
  const start = () => sh(`./${NAME}/tunnel-agent --version`, folder);
  await truncate(program, 1_000_000);
  t.match(await start(), { code: 1, stdout: '', stderr: /SyntaxError/ });
  await sh(`rm ${program}`, folder);
  t.match(await start(), { code: 1, stdout: '', stderr: /tunnel-agent\.cjs is missing: install it again/ });
});
