import { readFileSync } from 'node:fs';
import { mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import type { SourceMapPayload } from 'node:module';
import { join, resolve } from 'node:path';
import t from 'tap';
import { bundleGateway } from '../../scripts/bundle.ts';
import { licences } from '../../scripts/licences.ts';
import { sourcePlaces } from '../../scripts/stack.ts';
import { temporaryFolder } from '../device/support.ts';
import { startTunnelGateway } from '../support/gateway.ts';
import { run } from '../support/processes.ts';
import { installed, NODES, runInstead } from './support.ts';

const ROOT = resolve(import.meta.dirname, '../../..');

interface Sources extends SourceMapPayload {
  sources: string[];
}

t.test('every package in a program is there with the whole text of its licence', async (t) => {
  const { folder } = await installed(t);
  await bundleGateway(folder);
  for (const program of ['tunnel-agent', 'tunnel-gateway']) {
    const map = JSON.parse(readFileSync(join(folder, `${program}.cjs.map`), 'utf8')) as Sources;
    const legal = readFileSync(join(folder, `${program}.cjs.LEGAL.txt`), 'utf8');
    const packages = new Set(map.sources.map((path) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0]));
    packages.delete(undefined);
    t.ok(packages.size > 50, `${program}: there is something to check`);
    for (const path of packages) {
      const from = resolve(ROOT, 'dist', path ?? '');
      const { name, version } = JSON.parse(readFileSync(join(from, 'package.json'), 'utf8')) as Record<string, string>;
      const start = legal.indexOf(`\n${name} ${version}\n\n`);
      const part = legal.slice(start, legal.indexOf('\n====', start));
      t.ok(start > 0 && /permi|public domain/i.test(part), `${program}: ${name} ${version}`);
    }
  }
});

t.test('a package without the text of a licence may not be given away', async (t) => {
  const root = temporaryFolder(t);
  const made = async (name: string, files: Record<string, string>) => {
    const folder = join(root, 'node_modules', name);
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, 'package.json'), JSON.stringify({ name, version: '1.0.0' }));
    for (const [file, text] of Object.entries(files)) await writeFile(join(folder, file), text);
    return `node_modules/${name}/index.js`;
  };
  const inputs = (...paths: string[]) => ({
    inputs: Object.fromEntries(paths.map((path) => [path, { bytes: 1, imports: [] }])),
    outputs: {},
  });
  const good = await made('good', { 'LICENSE.md': 'Permission is granted.' });
  const scoped = await made('@good/inner', { 'README.md': '# Inner\n\n## License\n\nPermission is granted, too.' });
  const named = await made('named', { 'readme.md': '# Named\n\n## License\n\nMIT' });
  const bare = await made('bare', {});

  const text = await licences(inputs(good, scoped, 'src/main.ts'), root);
  t.match(
    text,
    /good\/inner 1\.0\.0\n\nPermission is granted, too\.\n[\s\S]*good 1\.0\.0\n\nPermission is granted\.\n/,
  );
  await t.rejects(licences(inputs(good, named, bare), root), {
    message: 'no text of a licence in: named 1.0.0, bare 1.0.0',
  });
});

t.test('the source map tells the place in the sources, afterwards or at once, and is not read unasked', async (t) => {
  const { folder, program, launcher } = await installed(t);
  const fault = join(folder, 'fault.cjs');
  await writeFile(fault, "process.stdout.on = () => { throw new Error('here'); };");
  const start = async (options = '') => {
    const words = [`NODE_OPTIONS=--require=${fault} ${options}`, launcher, '--version'];
    return (await run('env', words, { env: { PATH: process.env.PATH } })).stderr;
  };
  const source = /at main \(.*src\/cli\/main\.ts:\d+:\d+\)/;

  const trace = await start();
  t.match(trace, /at main \(.*tunnel-agent\.cjs:\d+:\d+\)/);
  t.notMatch(trace, source);
  const map = JSON.parse(readFileSync(`${program}.map`, 'utf8')) as SourceMapPayload;
  const line = lineOf('src/cli/main.ts', "process.stdout.on('error'");
  t.match(sourcePlaces(map, trace), `at main (src/cli/main.ts:${line}:`);
  t.match(await start('--enable-source-maps'), source);

  await writeFile(`${program}.map`, 'not a map');
  t.match(await run(launcher, ['--version'], { env: { PATH: process.env.PATH } }), { code: 0, stderr: '' });
});

for (const [name, nodeFolder] of NODES.filter(([name]) => !name.startsWith('Node 20.'))) {
  t.test(`${name} keeps a compile cache where it is asked to, and only there`, async (t) => {
    const folder = temporaryFolder(t);
    const { launcher, program } = await installed(t);
    const env = { PATH: `${nodeFolder}:${process.env.PATH}`, HOME: folder, TMPDIR: folder, XDG_CACHE_HOME: folder };
    const check = (cache = '') => run(launcher, ['config', 'check'], { env: { ...env, NODE_COMPILE_CACHE: cache } });
    const filesOf = async () => readdir(folder, { recursive: true });

    t.equal((await check()).code, 0);
    t.strictSame(await filesOf(), [], 'unasked, nothing');
    t.match(await check(join(program, 'no-folder')), { code: 0, stderr: '' }, 'where nothing can be written, it runs');

    const cache = join(folder, 'cache');
    t.equal((await check(cache)).code, 0);
    const [kind, ...files] = (await readdir(cache, { recursive: true })).sort();
    t.ok(files.length > 0, 'one of the file');
    const written = await Promise.all(files.map(async (file) => (await stat(join(cache, file))).mtimeMs));
    t.equal((await check(cache)).code, 0);
    const now = await Promise.all(files.map(async (file) => (await stat(join(cache, file))).mtimeMs));
    t.strictSame(now, written, 'one that serves is not written again');

    // The trap: made without the launcher, and so without its flags, it would serve nobody.
    await run(join(nodeFolder, 'node'), [program, 'config', 'check'], { env: { ...env, NODE_COMPILE_CACHE: cache } });
    const kinds = await readdir(cache);
    t.equal(kinds.length, 2, 'another folder for other flags');
    t.ok(kinds.includes(kind ?? ''));
  });
}

for (const [name, nodeFolder] of NODES) {
  t.test(`${name} runs the gateway out of the one file, with its database's addon beside it`, async (t) => {
    const folder = join(temporaryFolder(t), 'installed');
    await bundleGateway(folder);
    const wrapper = runInstead(join(folder, 'tunnel-gateway'), nodeFolder);
    const gateway = await startTunnelGateway(temporaryFolder(t), {}, { wrapper });
    t.teardown(() => gateway.stop('SIGKILL'));
    t.match(await gateway.json(['device', 'add']), { devicekey: /^[0-9A-F]{32}$/ });
    t.match(readFileSync(`/proc/${gateway.pid}/maps`, 'utf8'), `${folder}/node_modules/@libsql/`);
    t.equal(await gateway.stop(), 0);
  });
}

function lineOf(file: string, text: string): number {
  return (
    readFileSync(join(ROOT, file), 'utf8')
      .split('\n')
      .findIndex((line) => line.includes(text)) + 1
  );
}
