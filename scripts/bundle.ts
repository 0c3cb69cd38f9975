/**
 * `make bundle`: the device's program as one file, dist/tunnel-agent.cjs, which needs Node and nothing else, and the
 * launcher that gives Node its flags. There is no folder of packages to install, the start takes half the time, and
 * the idle service a fifth less memory: what each choice below saves stands in docs/performance.md.
 */
import { copyFile, readFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { build, type Plugin } from 'esbuild';

const root = resolve(import.meta.dirname, '../..');

/**
 * The start of the program as a dynamic import: then every module is a function of its own, compiled when it is
 * reached. Side by side in one scope they would be compiled at once, and the memory for that is never given back.
 */
const ENTRY = "import('./src/cli/tunnel-agent.ts');";

/** A table of this size is worth a parser of its own. */
const LARGE_JSON_BYTES = 16 * 1024;

/** JSON.parse reads a large table with a fraction of the memory that the JavaScript parser needs (mime-db: 6 MiB). */
const largeJson: Plugin = {
  name: 'large JSON is parsed as JSON',
  setup({ onLoad }) {
    onLoad({ filter: /\.json$/ }, async ({ path }) => {
      const text = await readFile(path, 'utf8');
      if (text.length < LARGE_JSON_BYTES) return null;
      const compact = JSON.stringify(JSON.parse(text));
      return { contents: `module.exports = JSON.parse(${JSON.stringify(compact)});`, loader: 'js' };
    });
  },
};

/** Writes the program to `outfile` and the launcher `tunnel-agent` beside it. @returns `outfile` */
export async function bundle(outfile = resolve(root, 'dist/tunnel-agent.cjs')): Promise<string> {
  await build({
    stdin: { contents: ENTRY, resolveDir: root, loader: 'ts' },
    outfile,
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
    plugins: [largeJson],
    // A folder of packages may be a link; where it leads is the business of this machine alone.
    absWorkingDir: root,
    preserveSymlinks: true,
    legalComments: 'external',
    logLevel: 'warning',
  });
  await copyFile(resolve(root, 'bin/tunnel-agent'), join(dirname(outfile), 'tunnel-agent'));
  return outfile;
}

if (process.argv[1] === import.meta.filename) process.stdout.write(`${await bundle()}\n`);
