/**
 * `make wear`: what the device service writes to its storage: an ext4 of its own holds the state folder, the key file and
 * the configuration, and its block device counts. Prints the table of docs/performance.md. Needs root and a loop device.
 */
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { requestControl } from '../src/control/client.ts';
import { Lifecycle } from '../src/support/lifecycle.ts';
import { startTunnelGateway } from '../test/support/gateway.ts';
import { freshKeyLine } from '../test/support/public-keys.ts';
import { type Service, startService } from '../test/support/service.ts';
import { until } from '../test/support/until.ts';

const IDLE_MINUTES = Number(process.env.IDLE_MINUTES ?? 10);
const TIMES = 20;
const SECTOR_BYTES = 512; // of /sys/block/*/stat, whatever the device
const IMAGE_BYTES = 64 * 1024 * 1024;
/** ext4 writes its journal down every 5 s. */
const SETTLE_MS = 6_000;
const DAY_MINUTES = 1440;
const STOP_EACH_MS = 10_000;

const parts = new Lifecycle();

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'zeroforce-wear-'));
  parts.own('the folder', () => rm(folder, { recursive: true, force: true }));
  const disk = await ext4(folder);
  const gateway = await startTunnelGateway(join(folder, 'gateway'), { GATEWAY_PORT_RANGE: '41000-41009' });
  parts.own('the gateway', async () => void (await gateway.stop()));
  const device = (await gateway.json(['device', 'add'])) as { devicekey: string; token_code: string };
  // All that a device keeps lies on that disk; the run folder is in memory on a device, and elsewhere here.
  const kept = join(disk.mount, 'device');
  const runDir = join(folder, 'run');
  const write = (port: number) =>
    writeFile(join(kept, 'config.json'), JSON.stringify({ services: { ssh: 22, other: port } }));
  await mkdir(kept);
  await write(80);
  const start = () =>
    startService(kept, {
      ZEROFORCE_RUN_DIR: runDir,
      ZEROFORCE_MONITOR_INTERVAL: '',
      ZEROFORCE_RECONNECT_MIN: '0.1',
      ZEROFORCE_RECONNECT_MAX: '0.2',
      MEETING_DEVICE_KEY: device.devicekey,
      MEETING_TOKEN: device.token_code,
      MEETING_PROXY_HOST: '127.0.0.1',
      MEETING_PROXY_PORT: String(gateway.ports.agent),
    });
  let service = await start();
  parts.own('the service', async () => void (await service.stop()));
  const rows: [string, number][] = [];
  const each = async (what: string, times: number, act: (round: number) => Promise<void>) => {
    const before = await disk.written();
    for (let round = 0; round < times; round++) {
      await act(round);
      await disk.sync();
    }
    rows.push([what, ((await disk.written()) - before) / times]);
  };

  await up(service);
  await disk.settle();
  await each(`idle, connected, ${IDLE_MINUTES} minutes`, 1, () => sleep(IDLE_MINUTES * 60_000));
  await each('a pairing (another key)', TIMES, async () => {
    await requestControl(runDir, 'POST /pairing/open');
    const body = new URLSearchParams({ key: freshKeyLine() });
    const { ok } = await fetch(`${service.url}/zeroforce/setkey`, { method: 'POST', body });
    if (!ok) throw new Error('the key was not taken');
  });
  await each('a session that breaks and is dialled again', TIMES, async () => {
    const before = (await service.status()).tunnel?.sessions ?? 0;
    await gateway.cli(['disconnect', device.devicekey]);
    await until('another session', async () => ((await service.status()).tunnel?.sessions ?? 0) > before);
    await up(service);
  });
  await each('a changed configuration, by whoever writes it', TIMES, (round) => write(1000 + round));
  await each('the same, taken on by the service', TIMES, async (round) => {
    await write(2000 + round);
    process.kill(service.pid, 'SIGHUP');
    const copy = join(kept, 'state', 'config.last-good.json');
    await until('the copy', async () => (await readFile(copy, 'utf8')).includes(`${2000 + round}`));
  });
  await each('a restart of the service', TIMES / 4, async () => {
    await service.stop();
    service = await start();
    await up(service);
  });
  await disk.settle();
  print('| what happens | bytes written |\n| --- | --- |');
  for (const [what, bytes] of rows) print(`| ${what} | ${Math.round(bytes)} |`);
  print(`\nA day of idling: ${Math.round(((rows[0]?.[1] ?? 0) * DAY_MINUTES) / IDLE_MINUTES)} bytes`);
}

const up = (service: Service) => until('the tunnel', async () => (await service.status()).tunnel?.state === 'up');

/** A fresh ext4 in a file; nothing of it is written later for its own sake. */
async function ext4(folder: string) {
  const image = join(folder, 'image');
  await writeFile(image, '');
  await truncate(image, IMAGE_BYTES);
  const lazy = 'lazy_itable_init=0,lazy_journal_init=0';
  execFileSync('mkfs.ext4', ['-q', '-E', lazy, image]);
  const device = execFileSync('losetup', ['--show', '--find', image], { encoding: 'utf8' }).trim();
  parts.own('the loop device', async () => void execFileSync('losetup', ['--detach', device]));
  const mount = join(folder, 'disk');
  execFileSync('mkdir', [mount]);
  execFileSync('mount', ['-o', 'noatime', device, mount]);
  parts.own('the disk', async () => void execFileSync('umount', [mount]));
  const sync = async () => void execFileSync('sync', ['--file-system', mount]);
  return {
    mount,
    sync,
    settle: async () => {
      await sync();
      await sleep(SETTLE_MS);
    },
    written: async () => {
      await sync();
      const stat = (await readFile(`/sys/block/${basename(device)}/stat`, 'utf8')).trim().split(/\s+/);
      return Number(stat[6]) * SECTOR_BYTES;
    },
  };
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

try {
  await main();
} finally {
  await parts.stop(STOP_EACH_MS);
}
