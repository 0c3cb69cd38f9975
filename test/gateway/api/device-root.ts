import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { descendants, endChild, type Output, run } from '../../support/processes.ts';
import { until } from '../../support/until.ts';

export const ROOT_NEEDS = ['root', 'namespaces', 'unshare', 'nsenter', 'chroot', 'mount'] as const;

/** A device to try scripts on: this machine's /usr, read-only, and everything else its own, processes included. */
export interface DeviceRoot {
  path: string;
  /** Runs a program in it, to its end. */
  run(program: string, args?: readonly string[], options?: { input?: string; path?: string }): Promise<Output>;
}

/** It goes with the test, and whatever runs in it. */
export async function deviceRoot(t: Test): Promise<DeviceRoot> {
  const path = mkdtempSync(join(tmpdir(), 'zeroforce-root-'));
  for (const name of ['usr', 'etc/init.d', 'proc', 'dev', 'run', 'var', 'tmp', 'root', 'stub']) {
    mkdirSync(join(path, name), { recursive: true });
  }
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) symlinkSync(`usr/${name}`, join(path, name));
  symlinkSync('../run', join(path, 'var/run'));
  const files = {
    passwd: 'root:x:0:0::/root:/bin/sh\n',
    group: 'root:x:0:\n',
    hosts: '127.0.0.1 localhost\n',
    'nsswitch.conf': 'passwd: files\nhosts: files\n',
  };
  for (const [name, text] of Object.entries(files)) writeFileSync(join(path, 'etc', name), text);

  const mounts = [
    `mount --bind /usr ${path}/usr`,
    `mount -o remount,bind,ro ${path}/usr`,
    `mount --rbind /dev ${path}/dev`,
    `mount -t proc proc ${path}/proc`,
  ].join(' && ');
  // The first process of its namespace; like any init it buries those whose parents have gone.
  const init = `${mounts} && echo ready && while :; do sleep 1; done`;
  const unshare = spawn('unshare', ['-m', '-p', '-f', '--kill-child', 'sh', '-c', init], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(async () => {
    await endChild(unshare, 'SIGKILL');
    rmSync(path, { recursive: true, force: true });
  });
  await ready(unshare);
  const inside = descendants(unshare.pid ?? 0)[0] ?? 0;
  const enter = ['-t', String(inside), '-m', '-p', '--', 'chroot', path];
  return {
    path,
    run: (program, args = [], { input, path: PATH = '/usr/sbin:/usr/bin:/sbin:/bin' } = {}) =>
      run('nsenter', [...enter, '/usr/bin/env', '-i', `PATH=${PATH}`, 'HOME=/root', program, ...args], {
        timeoutMs: 60_000,
        ...(input !== undefined && { input }),
      }),
  };
}

async function ready(child: ChildProcess): Promise<void> {
  let text = '';
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  await until('the root to be ready', () => {
    if (child.exitCode !== null) throw new Error('the root could not be made');
    return text.includes('ready');
  });
}
