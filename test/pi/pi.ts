import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import type { Test } from 'tap';
import { activityOf } from '../../bench/process-figures.ts';
import type { Board } from '../install/board.ts';
import { ANY_HOST, SSH } from '../install/use.ts';
import { endChild, type Output, run } from '../support/processes.ts';
import { makeKey } from '../support/sshd.ts';
import { until } from '../support/until.ts';

const HERE = resolve(import.meta.dirname, '../../../test/pi');
const IMAGE_MS = 5 * 60_000;
const ROOT_MS = 30 * 60_000;
const BOOT_MS = 15 * 60_000;
/** Of the namespace of the machine, where nothing else is; the ports of the service are the same inside and outside. */
const SSH_PORT = 2022;
/** What the machine's network has instead of the host's loopback. */
export const HOST = '10.0.2.2';

/** The machines: a Raspberry Pi 3B, and one that has nothing but what the emulation is good at. */
export type Machine = 'raspi3b' | 'virt';

/** An emulated computer with Debian for arm64 and the package of the agent, alone in a network of its own. */
export interface Pi extends Pick<Board, 'sh' | 'write' | 'inNet' | 'console'> {
  /** Starts it; returns when its sshd answers. Before that, `write` decides what is on its disk, and later no more. */
  boot(): Promise<void>;
  /** The processor time of the emulator since the power was there; it depends less on what else this machine does. */
  cpuSeconds(): number;
  /** Takes the power. */
  cut(): Promise<void>;
}

const NETWORK = '[Match]\nName=!lo\n\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\n';

/** @param deb the package of the agent */
export async function makePi(t: Test, machine: Machine, deb: string): Promise<Pi> {
  const folder = await mkdtemp(join(tmpdir(), 'zeroforce-pi-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const made = await run(join(HERE, 'root.sh'), [], { timeoutMs: ROOT_MS });
  if (made.code !== 0) throw new Error(`no system for it: ${made.stderr}`);
  const system = made.stdout.trim();

  // The network is there first: what waits for the machine lives in it, too.
  const network = spawn('unshare', ['--net', 'sh', '-c', 'ip link set lo up; echo ready; exec sleep infinity']);
  t.teardown(() => endChild(network, 'SIGKILL'));
  await until('a network', () => network.stdout.read() !== null);
  const inNet = ['nsenter', '--net', `--target=${network.pid}`];

  const { path: key, publicKey } = await makeKey(join(folder, 'key'), 'test');
  const extra = join(folder, 'extra');
  const write: Pi['write'] = async (path, text, mode = 0o644) => {
    await mkdir(dirname(join(extra, path)), { recursive: true });
    await writeFile(join(extra, path), text, { mode });
  };
  await write('/etc/systemd/network/10-all.network', NETWORK);
  await write('/etc/hostname', `${machine}\n`);
  await write('/root/.ssh/test_keys', `${publicKey}\n`);
  await write('/etc/ssh/sshd_config.d/test.conf', 'AuthorizedKeysFile .ssh/test_keys /etc/ssh/technicians\n');
  await write('/etc/hosts', '127.0.0.1 localhost\n::1 localhost\n');
  await write('/etc/fstab', '');

  let console = '';
  let running: ChildProcess | null = null;
  const sh: Pi['sh'] = (script, { input, timeoutMs = 60_000 } = {}) => {
    const [program = '', ...prefix] = inNet;
    const login = [...SSH, ...ANY_HOST, '-i', key, '-p', String(SSH_PORT), 'root@127.0.0.1', 'sh'];
    return run(program, [...prefix, 'ssh', ...login], {
      input: input === undefined ? script : `${script}\n${input}`,
      timeoutMs,
    });
  };

  return {
    inNet,
    write,
    sh,
    console: () => console,
    async boot() {
      const image = join(folder, 'card.img');
      const args = ['--mount', join(HERE, 'image.sh'), system, extra, deb, image];
      const imaged = await run('unshare', args, { timeoutMs: IMAGE_MS });
      if (imaged.code !== 0) throw new Error(`no card for it: ${imaged.stdout}${imaged.stderr}`);
      const [program = '', ...prefix] = inNet;
      const child = spawn(program, [...prefix, 'qemu-system-aarch64', ...hardware(machine, system, image)], {
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      running = child;
      t.teardown(() => endChild(child, 'SIGKILL'));
      for (const stream of [child.stdout, child.stderr]) {
        stream.setEncoding('utf8').on('data', (text: string) => {
          console += text;
        });
      }
      let last: Output | null = null;
      await until(
        `${machine} to boot`,
        async () => {
          if (child.exitCode !== null) throw new Error(`the machine ended:\n${console}`);
          last = await sh('true', { timeoutMs: 30_000 });
          return last.code === 0;
        },
        BOOT_MS,
      ).catch((error: unknown) => {
        throw new Error(`${String(error)}\n${last?.stderr ?? ''}\n${console.slice(-4000)}`);
      });
    },
    cpuSeconds: () => activityOf(running?.pid ?? 0).cpuMs / 1000,
    async cut() {
      if (running !== null) await endChild(running, 'SIGKILL');
    },
  };
}

/** The arguments of qemu. A Pi 3B has its card, and its network behind USB; no disk or network of virtio fits into it. */
function hardware(machine: Machine, system: string, image: string): string[] {
  const boot = join(system, 'boot');
  const kernel = readdirSync(boot).find((name) => name.startsWith('vmlinuz-')) ?? '';
  const version = kernel.slice('vmlinuz-'.length);
  const forwards = [`tcp:127.0.0.1:${SSH_PORT}-:22`, 'tcp:127.0.0.1:5000-:5000', 'tcp:127.0.0.1:8007-:8007'];
  const user = `user,id=net0,net=10.0.2.0/24,${forwards.map((forward) => `hostfwd=${forward}`).join(',')}`;
  const common = [
    ...['-kernel', join(boot, kernel), '-initrd', join(boot, `initrd.img-${version}`)],
    ...['-netdev', user, '-display', 'none', '-serial', 'stdio', '-monitor', 'none', '-no-reboot'],
  ];
  if (machine === 'raspi3b') {
    const dtb = join(system, `usr/lib/linux-image-${version}/broadcom/bcm2837-rpi-3-b.dtb`);
    return [
      ...['-M', 'raspi3b', '-dtb', dtb, '-drive', `if=sd,format=raw,file=${image}`],
      ...['-device', 'usb-net,netdev=net0'],
      ...['-append', 'console=ttyAMA0,115200 root=/dev/mmcblk0 rootwait rw quiet'],
      ...common,
    ];
  }
  return [
    ...['-M', 'virt', '-cpu', 'cortex-a53', '-smp', '2', '-m', '1024'],
    ...['-drive', `if=none,id=disk0,format=raw,file=${image}`, '-device', 'virtio-blk-pci,drive=disk0'],
    ...['-device', 'virtio-net-pci,netdev=net0,romfile='],
    ...['-append', 'console=ttyAMA0 root=/dev/vda rw quiet'],
    ...common,
  ];
}
