import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { release } from '../../scripts/release.ts';
import { run } from '../support/processes.ts';

/** What the program of a release does wrong; text that is put before it. */
export const BROKEN = {
  /** Ends at once when it is to run as the service; everything else works. */
  exits: `if (process.argv[2] === 'run') process.exit(1);\n`,
  /** Runs, and never answers. */
  hangs: `if (process.argv[2] === 'run') { setInterval(() => {}, 1000); while (true) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0); }\n`,
  /** Is ready, and never reaches its proxy, which is on port 9001. */
  untunnelled: `{ const { Socket } = require('node:net'); const { connect } = Socket.prototype;
    Socket.prototype.connect = function (...words) {
      if (JSON.stringify(words[0])?.includes('9001')) { process.nextTick(() => this.destroy(new Error('broken on purpose'))); return this; }
      return connect.apply(this, words);
    }; }\n`,
} as const;

/** Stands in the program where its version is; as long as a real one. */
const PLACEHOLDER = '0.0.0-placeholder';

/** Makes `zeroforce-agent-VERSION.tar.gz` and gives its path. */
export type Releases = (version: string, broken?: keyof typeof BROKEN) => Promise<string>;

/** Releases of several versions, of one bundling. */
export async function releases(t: Test): Promise<Releases> {
  const folder = mkdtempSync(join(tmpdir(), 'zeroforce-releases-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  await tar(['-xzf', await release(folder, PLACEHOLDER), '-C', folder]);
  return async (version, broken) => {
    const name = `zeroforce-agent-${version}`;
    const to = join(folder, name);
    await cp(join(folder, `zeroforce-agent-${PLACEHOLDER}`), to, { recursive: true });
    const program = await readFile(join(to, 'tunnel-agent.cjs'), 'latin1');
    const text = program.replaceAll(PLACEHOLDER, version);
    await writeFile(join(to, 'tunnel-agent.cjs'), (broken ? BROKEN[broken] : '') + text, 'latin1');
    await writeFile(join(to, 'VERSION'), `${version}\n`);
    await writeSums(to);
    return pack(folder, name);
  };
}

/** What a release of nothing real does: see `stubRelease`. */
export type Behaviour = 'good' | 'dead' | 'untunnelled' | 'refused';

/**
 * A release without Node, for the installer's own steps: its S-script makes the file that its `status` prints, or does
 * not. Starting it costs nothing.
 */
export async function stubRelease(
  folder: string,
  { version, behaviour = 'good', installer }: { version: string; behaviour?: Behaviour; installer: string },
): Promise<string> {
  const name = `zeroforce-agent-${version}`;
  const to = join(folder, name);
  for (const each of ['init', 'sysctl', 'man']) await mkdir(join(to, each), { recursive: true });
  const put = (path: string, text: string, mode = 0o644) => writeFile(join(to, path), text, { mode });
  await put('install.sh', await readFile(installer, 'utf8'), 0o755);
  await put('VERSION', `${version}\n`);
  await put('behaviour', `${behaviour}\n`);
  await put('tunnel-agent.cjs', `// ${version}\n`);
  await put('tunnel-agent', STUB_PROGRAM, 0o755);
  await put('init/S70zeroforce', `${STUB_SCRIPT}# of ${version}\n`, 0o755);
  await put('init/S71zeroforce-sshd', '#!/bin/sh\n', 0o755);
  for (const name of ['zeroforce', 'zeroforce-sshd']) {
    const does = name === 'zeroforce' ? '/opt/zeroforce/current/init/S70zeroforce start' : '/bin/true';
    await put(`init/${name}.service`, `[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=${does}\n${WANTED}`);
    await put(`init/${name}.openrc`, `#!/sbin/openrc-run\nstart() {\n\t${does}\n}\n`, 0o755);
  }
  await put('init/zeroforce-supervise', '#!/bin/sh\n', 0o755);
  await put('sysctl/90-zeroforce.conf', 'net.ipv4.tcp_retries2 = 5\n');
  await put('man/tunnel-agent.1', `of ${version}\n`);
  // A file that came with one version, and went with another.
  await put(`man/${version < '1.1' ? 'zeroforce.conf.5' : 'other'}`, 'what it was\n');
  await writeSums(to);
  return pack(folder, name);
}

const WANTED = '[Install]\nWantedBy=multi-user.target\n';

const STUB_PROGRAM = `#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
case "$1 $2" in
'config check') ! grep -q refused "$here/behaviour" || { echo 'http.port: 0 is not allowed'; exit 78; } ;;
'config init') echo '{}' >"$4" ;;
'migrate --dry-run') [ ! -e /run/earlier ] || exit 3 ;;
'status --json') cat /run/stub-status ;;
esac
`;

const STUB_SCRIPT = `#!/bin/sh
here=/opt/zeroforce/current
rm -f /run/stub-status
[ "$1" != stop ] || exit 0
read -r behaviour <$here/behaviour
read -r version <$here/VERSION
case $behaviour in
dead) exit 0 ;;
untunnelled) tunnel=waiting ;;
*) tunnel=up ;;
esac
cat >/run/stub-status <<END
{
  "version": "$version",
  "pid": 4711,
  "http": {
    "host": "::",
    "port": 5000
  },
  "tunnel": {
    "transport": "meeting",
    "state": "$tunnel"
  }
}
END
`;

async function writeSums(folder: string): Promise<void> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const names = entries
    .filter((entry) => entry.isFile() && entry.name !== 'SHA256SUMS')
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort();
  const lines = names.map(async (name) => {
    const sum = createHash('sha256').update(await readFile(join(folder, name)));
    return `${sum.digest('hex')}  ${name}\n`;
  });
  await writeFile(join(folder, 'SHA256SUMS'), (await Promise.all(lines)).join(''));
}

async function pack(folder: string, name: string): Promise<string> {
  const archive = join(folder, `${name}.tar.gz`);
  await tar(['-I', 'gzip -1', '-cf', archive, '-C', folder, name]);
  return archive;
}

async function tar(args: readonly string[]): Promise<void> {
  const { code, stderr } = await run('tar', args, { timeoutMs: 120_000 });
  if (code !== 0) throw new Error(`tar ${args.join(' ')}: ${stderr}`);
}
