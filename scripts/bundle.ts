/**
 * `make bundle`: the device's program as one file, dist/tunnel-agent.cjs, which needs Node and nothing else, and the
 * launcher that gives Node its flags. There is no folder of packages to install, and the idle service takes a quarter
 * less memory: what each choice below saves stands in docs/performance.md.
 */
import { copyFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { build } from 'esbuild';

const root = resolve(import.meta.dirname, '../..');

/**
 * The start of the program as a dynamic import: then every module is a function of its own, compiled when it is
 * reached. Side by side in one scope all would be compiled at once.
 */
const ENTRY = "import('./src/cli/tunnel-agent.ts');";

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
