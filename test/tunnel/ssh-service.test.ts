import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { device, temporaryFolder, untilStatus } from '../device/support.ts';
import { requires } from '../support/requires.ts';
import { type Service, tunnelAgent } from '../support/service.ts';
import { GATEWAY_NEEDS, type SshGateway, startGateway, TOKEN } from '../support/ssh-gateway.ts';
import { startEcho } from '../support/tcp-services.ts';
import { until } from '../support/until.ts';

const needs = requires(...GATEWAY_NEEDS);

/** The settings of a device that belongs to this gateway. */
function settings(gateway: SshGateway, localPort: number): Record<string, string> {
  return {
    ZEROFORCE_TRANSPORT: 'ssh',
    ZEROFORCE_SSH_HOST: '127.0.0.1',
    ZEROFORCE_SSH_PORT: String(gateway.port),
    ZEROFORCE_SSH_TOKEN: TOKEN,
    ZEROFORCE_SSH_HOST_KEY: gateway.hostKey,
    ZEROFORCE_SSH_FORWARDS: `echo=${localPort}`,
    ZEROFORCE_RECONNECT_MIN: '0.1',
    ZEROFORCE_RECONNECT_MAX: '1',
    LOG_LEVEL: 'trace',
  };
}

const up = (service: Service) => untilStatus(service, ({ tunnel }) => tunnel?.state === 'up');
const folderOf = ({ settings }: Service) => join(settings.ZEROFORCE_RUN_DIR ?? '', 'ssh');

/** What can be read in /proc of every process that has to do with this folder. */
function processesOf(service: Service): { pid: number; commandLine: string; environment: string }[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => ({ pid: Number(name), commandLine: read(name, 'cmdline'), environment: read(name, 'environ') }))
    .filter(({ commandLine }) => commandLine.includes(folderOf(service)));
}

function read(pid: string, what: string): string {
  try {
    return readFileSync(`/proc/${pid}/${what}`, 'latin1');
  } catch {
    return ''; // ended meanwhile
  }
}

async function echo(t: Test) {
  const service = await startEcho();
  t.teardown(() => service.close());
  return service;
}

t.test('a device with the ssh transport says where it is reached, and its token nowhere', needs, async (t) => {
  const gateway = await startGateway(t);
  const { port } = await echo(t);
  const service = await device(t, settings(gateway, port));
  const { tunnel, faults } = await up(service);
  t.strictSame(faults, []);
  t.match(tunnel, { transport: 'ssh', protocol: 'ssh', forwards: [{ name: 'echo', localPort: port }] });
  const remotePort = tunnel?.forwards[0]?.remotePort ?? 0;
  const socket = connect(remotePort, '127.0.0.1');
  socket.write('x');
  await new Promise((resolve) => socket.once('data', resolve));
  socket.destroy();

  const processes = processesOf(service);
  t.equal(processes.length, 1);
  for (const { commandLine, environment } of processes) {
    t.match(commandLine, /-N\0-F\0/);
    t.notMatch(commandLine + environment, TOKEN);
  }
  t.strictSame(readdirSync(folderOf(service)), [], 'the configuration is gone once the session stands');
  t.equal(statSync(folderOf(service)).mode & 0o777, 0o700);
  for (const args of [['status'], ['status', '--json'], ['config', 'show', '--json'], ['config', 'check']]) {
    const { code, stdout, stderr } = await tunnelAgent(args, service.settings);
    t.equal(code, 0, stderr);
    t.notMatch(stdout + stderr, TOKEN, args.join(' '));
    if (args.length === 1) {
      t.match(stdout, `echo: port ${remotePort} of the gateway leads to port ${port} of this device`);
    }
  }

  t.equal(await service.stop(), 0);
  t.strictSame(processesOf(service), []);
  t.match(service.log(), '"msg":"ssh"', 'the words of ssh are there, at level trace');
  t.notMatch(service.log(), TOKEN);
});

t.test('a token from a file, and a host key trusted at first use', needs, async (t) => {
  const gateway = await startGateway(t);
  const folder = temporaryFolder(t);
  const { ZEROFORCE_SSH_TOKEN: _, ZEROFORCE_SSH_HOST_KEY: __, ...rest } = settings(gateway, (await echo(t)).port);
  const tokenFile = join(folder, 'token');
  await writeFile(tokenFile, `${TOKEN}\n`, { mode: 0o600 });
  const own = { ...rest, ZEROFORCE_SSH_TOKEN_FILE: tokenFile, ZEROFORCE_SSH_TRUST_FIRST: '1' };
  const service = await device(t, own, { folder });
  await up(service);
  const stored = join(folder, 'state', `ssh-host-key-127.0.0.1-${gateway.port}`);
  t.equal(readFileSync(stored, 'utf8'), `${gateway.hostKey}\n`);

  await gateway.stop();
  await gateway.start({ hostKey: 'new' });
  const { tunnel } = await untilStatus(
    service,
    (status) => status.tunnel?.lastFailure?.code === 'ssh.host-key-changed',
  );
  t.not(tunnel?.state, 'up');
  t.equal(await service.stop(), 0);
  t.notMatch(service.log(), TOKEN);
});

t.test('after a SIGKILL of the service its ssh goes on, and the next start takes its place', needs, async (t) => {
  const gateway = await startGateway(t);
  const folder = temporaryFolder(t);
  const own = settings(gateway, (await echo(t)).port);
  const first = await device(t, own, { folder });
  await up(first);
  process.kill(first.pid, 'SIGKILL');
  await until('the service to be gone', () => read(String(first.pid), 'cmdline') === '');
  const [left] = processesOf(first);
  t.ok(left, 'the device stays in reach until then');

  const second = await device(t, own, { folder });
  await up(second);
  const now = processesOf(second);
  t.equal(now.length, 1, 'two would take the session from each other');
  t.not(now[0]?.pid, left?.pid);
  t.equal(await second.stop(), 0);
  t.strictSame(processesOf(second), []);
});

t.test('a service that is killed while ssh connects leaves its files behind until the next start', needs, async (t) => {
  const gateway = await startGateway(t);
  const folder = temporaryFolder(t);
  const own = settings(gateway, (await echo(t)).port);
  const silent = join(folder, 'silent');
  await writeFile(silent, '#!/bin/sh\nsleep 100\n', { mode: 0o755 });
  const first = await device(t, { ...own, ZEROFORCE_SSH_PROGRAM: silent }, { folder });
  const config = join(folderOf(first), 'config');
  await until('the configuration', () => existsSync(config));
  t.equal(statSync(config).mode & 0o777, 0o600);
  t.match(readFileSync(config, 'utf8'), `User ${TOKEN}\n`);
  process.kill(first.pid, 'SIGKILL');
  await until('the service to be gone', () => read(String(first.pid), 'cmdline') === '');
  t.ok(existsSync(config));
  const second = await device(t, own, { folder });
  await up(second);
  t.strictSame(readdirSync(folderOf(second)), []);
  t.equal(processesOf(second).length, 1);
});
