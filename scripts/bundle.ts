/**
 * `make bundle`: the device's program as one file, dist/tunnel-agent.mjs, which needs Node and nothing else. It starts
 * in half the time, and there is no folder of packages to install.
 */
import { resolve } from 'node:path';
import { build } from 'esbuild';

const root = resolve(import.meta.dirname, '../..');

/** Packages of CommonJS ask for Node's own modules with `require`, which a module of today does not have. */
const REQUIRE = `import { createRequire as zeroforceRequire } from 'node:module';
const require = zeroforceRequire(import.meta.url);`;

export async function bundle(outfile = resolve(root, 'dist/tunnel-agent.mjs')): Promise<string> {
  await build({
    entryPoints: [resolve(root, 'src/cli/tunnel-agent.ts')],
    outfile,
    bundle: true,
    platform: 'node',
    target: 'node20.19',
    format: 'esm',
    // Names stay, for stack traces and error classes; blanks and syntax go.
    minifyWhitespace: true,
    minifySyntax: true,
    keepNames: true,
    banner: { js: REQUIRE },
    legalComments: 'external',
    logLevel: 'warning',
  });
  return outfile;
}

if (process.argv[1] === import.meta.filename) process.stdout.write(`${await bundle()}\n`);
