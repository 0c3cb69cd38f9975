/**
 * `make bundle`: each program as one file that needs Node and nothing else: dist/tunnel-agent.cjs, and
 * dist/tunnel-gateway.cjs with its database's addon beside it. There is no folder of packages to install, and the idle
 * service takes a quarter less memory: what each choice below saves stands in docs/performance.md, and how the files are
 * used in docs/bundle.md.
 */
import { chmod, cp, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { type BuildOptions, build, type Plugin } from 'esbuild';
import pkg from '../package.json' with { type: 'json' };
import { licences } from './licences.ts';

const root = resolve(import.meta.dirname, '../..');

/** Of package.json the programs get their version; what this checkout is built with is nobody's business there. */
const onlyVersion = (version: string): Plugin => ({
  name: 'version',
  setup: ({ onLoad }) =>
    onLoad({ filter: /package\.json$/ }, ({ path }) =>
      path === join(root, 'package.json') ? { contents: JSON.stringify({ version }), loader: 'json' } : null,
    ),
});

/**
 * @param program the start of it is a dynamic import: then every module is a function of its own, compiled when it is
 * reached. Side by side in one scope all would be compiled at once.
 */
const optionsFor = (program: string, version: string) =>
  ({
    stdin: { contents: `import('./src/cli/${program}.ts');`, resolveDir: root, loader: 'ts' },
    // Not where it is written to: the source map names its sources from here, and is the same wherever it is made.
    outfile: join(root, 'dist', `${program}.cjs`),
    write: false,
    metafile: true,
    bundle: true,
    platform: 'node',
    target: 'node20.19',
    // Not a module: importing node:http as one makes Node 22 load its whole fetch, for a name in it that nobody uses.
    format: 'cjs',
    supported: { 'dynamic-import': false },
    // The names of functions stay, for stack traces. Shorter ones would make the file smaller and the memory larger:
    // esbuild then writes its wrappers in a form that V8 compiles at once.
    minifyWhitespace: true,
    minifySyntax: true,
    // Apart: Node reads it only with --enable-source-maps.
    sourcemap: 'linked',
    // A folder of packages may be a link; where it leads is the business of this machine alone.
    absWorkingDir: root,
    preserveSymlinks: true,
    legalComments: 'external',
    // What ssh2 would like to have and does without.
    external: ['cpu-features', '*.node'],
    plugins: [onlyVersion(version)],
    logLevel: 'warning',
  }) satisfies BuildOptions;

/**
 * Writes the agent to `outfile`, and beside it its launcher, licences and source map.
 * @param version what it calls itself; for tests of upgrades
 * @returns `outfile`
 */
export async function bundle(
  outfile = resolve(root, 'dist/tunnel-agent.cjs'),
  version: string = pkg.version,
): Promise<string> {
  await bundleProgram('tunnel-agent', dirname(outfile), version);
  return outfile;
}

/** As `bundle`; the addon is looked for where Node looks for every package, in a folder `node_modules` beside the file. */
export async function bundleGateway(folder = resolve(root, 'dist')): Promise<void> {
  await bundleProgram('tunnel-gateway', folder, pkg.version);
  for (const name of await addons()) {
    const to = join(folder, 'node_modules', name);
    await rm(to, { recursive: true, force: true });
    await cp(join(root, 'node_modules', name), to, { recursive: true, dereference: true });
  }
}

async function bundleProgram(program: string, folder: string, version: string): Promise<void> {
  const { outputFiles, metafile } = await build(optionsFor(program, version));
  await mkdir(folder, { recursive: true });
  for (const { path, text } of outputFiles) {
    const name = basename(path);
    const whole = name.endsWith('.LEGAL.txt') ? `${await licences(metafile, root)}\n${text}` : text;
    await place(join(folder, name), whole);
  }
  await place(join(folder, program), await readFile(join(root, 'bin', program), 'utf8'), 0o755);
}

/** The packages that hold libsql's addon for this kind of machine, as npm has installed them. */
async function addons(): Promise<string[]> {
  const text = await readFile(join(root, 'node_modules/libsql/package.json'), 'utf8');
  const { optionalDependencies } = JSON.parse(text) as { optionalDependencies: Record<string, string> };
  const wanted = new RegExp(`^@libsql/${process.platform}-${process.arch}-`);
  return Object.keys(optionalDependencies).filter((name) => wanted.test(name));
}

/** Whole or not at all: a build that is ended leaves no half of a program under its name. */
async function place(path: string, text: string, mode = 0o644): Promise<void> {
  const unfinished = `${path}.part`;
  await writeFile(unfinished, text);
  await chmod(unfinished, mode);
  await rename(unfinished, path);
}

if (process.argv[1] === import.meta.filename) {
  const folder = resolve(process.argv[2] ?? join(root, 'dist'));
  await bundle(join(folder, 'tunnel-agent.cjs'));
  await bundleGateway(folder);
  process.stdout.write(`${join(folder, 'tunnel-agent.cjs')}\n${join(folder, 'tunnel-gateway.cjs')}\n`);
}
