/**
 * `make release`: dist/zeroforce-agent-VERSION.tar.gz, with which the agent is installed where no package of the system
 * does it (scripts/install.sh), and from which Buildroot's package is made; its source map and SHA256SUMS beside it.
 * Byte for byte the same wherever and whenever it is made. What stands in it: docs/bundle.md.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmod, copyFile, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import pkg from '../package.json' with { type: 'json' };
import { bundle } from './bundle.ts';
import { manPages } from './man/pages.ts';

const run = promisify(execFile);
const root = resolve(import.meta.dirname, '../..');
const PACKAGE = 'board/package/zeroforce-agent';

/** Of the package, the folder of the archive, and what is put there, mode 0644. */
const FILES: readonly (readonly [to: string, names: readonly string[]])[] = [
  ['init', ['zeroforce.service', 'zeroforce-sshd.service', 'zeroforce-monitor.service']],
  ['init', ['zeroforce.tmpfiles', 'zeroforce.sysusers', 'unprivileged.conf']],
  ['sshd', ['beamer-ssh-tunnel']],
  ['sshd/beamer-ssh-tunnel.d', ['penalties.openssh-9.8']],
  ['sysctl', ['90-zeroforce.conf']],
];

/** The same, mode 0755. */
const PROGRAMS: typeof FILES = [
  ['init', ['S70zeroforce', 'S71zeroforce-sshd', 'S72zeroforce-monitor', 'zeroforce-supervise', 'zeroforce-sshd']],
  ['init', ['zeroforce.openrc', 'zeroforce-sshd.openrc', 'zeroforce-monitor.openrc']],
];

/** Of all that there are, those of a device. */
const MAN_PAGES = ['tunnel-agent.1', 'zeroforce.conf.5'];

/** The defaults of a kind of device: `config/KIND.json`. */
const KINDS = ['beamer', 'rtsp-recorder'];

/** Where each shell looks for it under this name. */
const COMPLETIONS: readonly (readonly [shell: string, name: string])[] = [
  ['bash', 'tunnel-agent'],
  ['zsh', '_tunnel-agent'],
  ['fish', 'tunnel-agent.fish'],
];

/**
 * @param outFolder where the archive, the source map and SHA256SUMS are written to
 * @param version what the agent calls itself; for tests of upgrades
 * @returns the path of the archive
 * @throws Error where a file that belongs into it is not there
 */
export async function release(outFolder = resolve(root, 'dist'), version: string = pkg.version): Promise<string> {
  const name = `zeroforce-agent-${version}`;
  const stage = await mkdtemp(join(tmpdir(), 'zeroforce-release-'));
  try {
    await fill(join(stage, name), version);
    const map = join(stage, `${name}.map`);
    await rename(join(stage, name, 'tunnel-agent.cjs.map'), map);
    await writeFile(join(stage, name, 'SHA256SUMS'), await sums(join(stage, name)));
    const archive = join(stage, `${name}.tar.gz`);
    await pack(stage, name, archive);
    await mkdir(outFolder, { recursive: true });
    const made = [archive, map];
    await writeFile(join(stage, 'SHA256SUMS'), await sums(stage, made.map((path) => basename(path)).sort()));
    for (const path of [...made, join(stage, 'SHA256SUMS')]) await place(path, join(outFolder, basename(path)));
    return join(outFolder, basename(archive));
  } finally {
    await rm(stage, { recursive: true, force: true });
  }
}

async function fill(folder: string, version: string): Promise<void> {
  const program = await bundle(join(folder, 'tunnel-agent.cjs'), version);
  await writeFile(join(folder, 'VERSION'), `${version}\n`);
  await place(join(root, 'scripts/install.sh'), join(folder, 'install.sh'), 0o755);
  for (const [to, names] of FILES) await take(names, join(folder, to), 0o644);
  for (const [to, names] of PROGRAMS) await take(names, join(folder, to), 0o755);
  await mkdir(join(folder, 'man'));
  for (const { file, text } of manPages(version)) {
    if (MAN_PAGES.includes(file)) await writeFile(join(folder, 'man', file), text);
  }
  await mkdir(join(folder, 'config'));
  for (const kind of KINDS)
    await copyFile(join(root, `board/${kind}/config.json`), join(folder, `config/${kind}.json`));
  await mkdir(join(folder, 'completion'));
  for (const [shell, name] of COMPLETIONS) {
    const { stdout } = await run(process.execPath, [program, 'completion', shell]);
    await writeFile(join(folder, 'completion', name), stdout);
  }
}

async function take(names: readonly string[], to: string, mode: number): Promise<void> {
  await mkdir(to, { recursive: true });
  for (const name of names) await place(join(root, PACKAGE, name), join(to, name), mode);
}

/** As `sha256sum` prints and checks them. */
async function sums(folder: string, names?: readonly string[]): Promise<string> {
  const lines = (names ?? (await filesIn(folder))).map(async (name) => {
    const sum = createHash('sha256').update(await readFile(join(folder, name)));
    return `${sum.digest('hex')}  ${name}\n`;
  });
  return (await Promise.all(lines)).join('');
}

async function filesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort();
}

/** Names in order, nobody's files, of no time, with the modes that no umask decides: nothing of who made it, and when. */
async function pack(folder: string, name: string, archive: string): Promise<void> {
  const same = ['--format=ustar', '--sort=name', '--owner=0', '--group=0', '--numeric-owner', '--mode=u=rwX,go=rX'];
  const env = { ...process.env, LC_ALL: 'C' };
  await run('tar', [...same, '--mtime=@1', '-I', 'gzip -9n', '-cf', archive, '-C', folder, name], { env });
}

/** Whole or not at all, also onto another file system. */
async function place(from: string, to: string, mode = 0o644): Promise<void> {
  const unfinished = `${to}.part`;
  await copyFile(from, unfinished);
  await chmod(unfinished, mode);
  await rename(unfinished, to);
}

if (process.argv[1] === import.meta.filename) process.stdout.write(`${await release()}\n`);
