import { readFileSync } from 'node:fs';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { cachedNodes, type NodeVersion } from '../../bench/node-versions.ts';
import pkg from '../../package.json' with { type: 'json' };
import { device, isReady, setKey } from '../device/support.ts';
import { run } from '../support/processes.ts';
import { freshKeyLine } from '../support/public-keys.ts';
import { requires } from '../support/requires.ts';
import { until } from '../support/until.ts';
import { installed, runInstead } from './support.ts';

/** The libraries of arm64 that Node needs, as Debian's packages *-arm64-cross install them. */
const LIBRARIES = '/usr/aarch64-linux-gnu';
/** An emulated start takes two seconds of a free processor; of one with many at work, a minute. */
const READY_MS = 60_000;

const emulated = process.arch !== 'arm64';
const nodes = cachedNodes('arm64');
const needs = emulated ? requires('qemu-aarch64-static', `${LIBRARIES}/lib/libatomic.so.1`) : requires();
/** The newest: what V8 asks of a processor grows. */
const newest = nodes.at(-1);

for (const node of nodes.slice(0, -1)) {
  t.test(`${node.name} for arm64 runs the one file`, needs, async (t) => {
    const { folder, launcher } = await installed(t);
    const env = { PATH: `${await nodeFolder(node, folder)}:${process.env.PATH}` };
    t.strictSame(await run(launcher, ['--version'], { env, timeoutMs: READY_MS }), {
      code: 0,
      stdout: `${pkg.version}\n`,
      stderr: '',
    });
  });
}

t.test(
  'for arm64 the configuration is checked, and the service pairs',
  newest === undefined ? requires('a Node for arm64') : needs,
  async (t) => {
    const { folder, launcher } = await installed(t);
    const newestFolder = await nodeFolder(newest!, folder);
    const env = { PATH: `${newestFolder}:${process.env.PATH}` };
    t.match(await run(launcher, ['config', 'check'], { env, timeoutMs: READY_MS }), { code: 0, stdout: /valid/ });
    const wrapper = runInstead(launcher, newestFolder);
    const service = await device(t, {}, { wrapper });
    await until('pairing to open', () => isReady(service), READY_MS);
    t.equal((await setKey(service, freshKeyLine('arm64'))).status, 200);
    t.match(readFileSync(service.settings.ZEROFORCE_AUTHORIZED_KEYS_FILE ?? '', 'utf8'), /arm64\n$/);
    t.equal(await service.stop(), 0);
  },
);

/** A folder with a program `node` that runs this one, emulated where it must be. */
async function nodeFolder({ folder }: NodeVersion, parent: string): Promise<string> {
  if (!emulated) return folder;
  const to = join(parent, 'emulated');
  await mkdir(to);
  await writeFile(join(to, 'node'), `#!/bin/sh\nexec qemu-aarch64-static -L ${LIBRARIES} ${folder}/node "$@"\n`);
  await chmod(join(to, 'node'), 0o755);
  return to;
}
