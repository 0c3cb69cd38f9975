import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { TunnelGateway } from '../support/gateway.ts';
import { endChild, type Output, run } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { startService } from '../support/service.ts';
import { makeKey, type Sshd, sshOptions, startSshd } from '../support/sshd.ts';
import { until } from '../support/until.ts';
import { remotes, startSsh } from './ssh/client.ts';
import { start, temporaryFolder } from './support.ts';

/** The sshd of a device that a technician can log in to. */
interface Maintenance {
  sshd: Sshd;
  /** Runs a command on the device, by ssh to a public port. */
  run(port: number, command: string): Promise<Output>;
  /** The same, while it goes on: its output grows. */
  spawn(port: number, command: string): { child: ChildProcess; output(): string };
}

async function maintenance(t: Test, folder: string): Promise<Maintenance> {
  const { path, publicKey } = await makeKey(join(folder, 'technician'), 'technician');
  writeFileSync(join(folder, 'keys'), `${publicKey}\n`, { mode: 0o600 });
  const config = `AuthorizedKeysFile ${join(folder, 'keys')}\nPasswordAuthentication no\nUsePAM no`;
  const sshd = await startSshd(join(folder, 'sshd'), config);
  t.teardown(() => sshd.stop());
  const args = (port: number, command: string) => {
    const knownHosts = join(folder, `known_hosts.${port}`);
    writeFileSync(knownHosts, sshd.knownHosts.replace(`:${sshd.port} `, `:${port} `));
    return [...sshOptions(path, knownHosts), '-p', String(port), `${sshd.user}@127.0.0.1`, command];
  };
  return {
    sshd,
    run: (port, command) => run('ssh', args(port, command)),
    spawn(port, command) {
      const child = spawn('ssh', args(port, command), { stdio: ['ignore', 'pipe', 'inherit'] });
      t.teardown(() => endChild(child, 'SIGKILL'));
      let output = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
      return { child, output: () => output };
    },
  };
}

const ADDED = { GATEWAY_KEEPALIVE_INTERVAL: '2', GATEWAY_KEEPALIVE_TIMEOUT: '1' };

type Answer = Record<string, string | undefined>;

/** Adds a device by the command line, and gives what the device has to know. */
async function addDevice(gateway: TunnelGateway, sshPort: number): Promise<{ key: string; token: string }> {
  const { devicekey: key = '', token_code: token = '' } = (await gateway.json(['device', 'add'])) as Answer;
  const forwards = [{ service_name: 'ssh', local_port: sshPort }];
  await gateway.rest(`PUT /api/tunnel/servers/${key}/forwards`, { forwards });
  return { key, token };
}

/** A device service that comes as a Meeting agent. */
async function agentDevice(t: Test, folder: string, gateway: TunnelGateway, sshPort: number) {
  const device = await addDevice(gateway, sshPort);
  const service = await startService(folder, {
    MEETING_DEVICE_KEY: device.key,
    MEETING_TOKEN: device.token,
    MEETING_PROXY_HOST: '127.0.0.1',
    MEETING_PROXY_PORT: String(gateway.ports.agent),
    ZEROFORCE_SERVICES: `ssh=${sshPort}`,
  });
  t.teardown(() => service.stop());
  return { ...device, service };
}

/** A device service that comes by the ssh of the system. */
async function sshDevice(t: Test, folder: string, gateway: TunnelGateway, sshPort: number) {
  const device = await addDevice(gateway, sshPort);
  const { token } = (await gateway.json(['token', 'show', device.key])) as { token: string };
  const hostKey = readFileSync(join(gateway.settings.GATEWAY_DATA_DIR ?? '', 'ssh_host_ed25519_key.pub'), 'utf8');
  const service = await startService(folder, {
    ZEROFORCE_TRANSPORT: 'ssh',
    ZEROFORCE_SSH_HOST: '127.0.0.1',
    ZEROFORCE_SSH_PORT: String(gateway.ports.ssh),
    ZEROFORCE_SSH_TOKEN: token,
    ZEROFORCE_SSH_HOST_KEY: hostKey.trim(),
    ZEROFORCE_SSH_FORWARDS: `ssh=${sshPort}`,
  });
  t.teardown(() => service.stop());
  return { ...device, service };
}

/** As the technician does: asks for the port, types what is printed. */
async function open(t: Test, gateway: TunnelGateway, key: string): Promise<number> {
  const { code, stdout, stderr } = await gateway.cli(['open', key, 'ssh']);
  t.equal(code, 0, stderr);
  const [, port] = /^ssh -p (\d+) USER@127\.0\.0\.1$/m.exec(stdout) ?? [];
  t.ok(port, stdout);
  return Number(port);
}

const NEEDS = requires('sshd', 'ssh', 'ssh-keygen');

for (const [what, device] of [
  ['a Meeting agent', agentDevice],
  ['an SSH client', sshDevice],
] as const) {
  t.test(`a device that comes as ${what} is reached, also after the gateway was killed`, NEEDS, async (t) => {
    const folder = await temporaryFolder(t);
    const gateway = await start(t, folder, ADDED);
    const { sshd, run } = await maintenance(t, folder);
    const { key, service } = await device(t, join(folder, 'device'), gateway, sshd.port);
    await gateway.online(key);
    const port = await open(t, gateway, key);
    t.match(await run(port, 'echo reached'), { code: 0, stdout: 'reached\n' });

    t.equal(await gateway.stop('SIGKILL'), null);
    const again = await start(t, folder, gateway.settings);
    const startedMs = performance.now();
    await again.online(key);
    t.ok(performance.now() - startedMs < 15_000, 'the device is back by itself within seconds');
    const { body } = await again.rest('GET /api/tunnels');
    t.match(body, { tunnels: [{ device_key: key, service: 'ssh', port }] }, 'what was open still is, at the same port');
    t.match(await run(port, 'echo again'), { code: 0, stdout: 'again\n' });
    t.equal(await open(t, again, key), port);
    t.match((await service.status()).tunnel, { state: 'up' });
    t.equal(await again.stop(), 0);
    t.notMatch(again.log(), /did not stop cleanly/);
  });
}

/** Whether something accepts connections there. */
async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

t.test('a gateway that is told to stop lets what is open finish, and nobody in', NEEDS, async (t) => {
  const folder = await temporaryFolder(t);
  const gateway = await start(t, folder, ADDED);
  const device = await maintenance(t, folder);
  const first = await agentDevice(t, join(folder, 'agent'), gateway, device.sshd.port);
  const second = await sshDevice(t, join(folder, 'ssh'), gateway, device.sshd.port);
  const work = [];
  for (const { key } of [first, second]) {
    await gateway.online(key);
    const port = await open(t, gateway, key);
    const go = join(folder, `go-${port}`);
    const command = `echo begun; until [ -e ${go} ]; do sleep 0.1; done; echo finished`;
    work.push({ key, port, go, ...device.spawn(port, command) });
  }
  for (const { output } of work) await until('the work to begin', () => output().includes('begun'));

  gateway.signal('SIGTERM');
  await until('the drain', () => gateway.log().includes('the devices finish what is open'));
  for (const port of [gateway.ports.agent, gateway.ports.ssh, ...work.map(({ port }) => port)]) {
    await until(`port ${port} to close`, async () => !(await accepts(port)));
  }
  t.match(await gateway.cli(['health']), { code: 1, stdout: 'draining\n' });
  t.match(await gateway.cli(['open', first.key, 'ssh']), { code: 1 }, 'nothing new is opened');

  for (const { go, child, output } of work) {
    t.notMatch(output(), 'finished');
    const exited = once(child, 'exit');
    writeFileSync(go, '');
    const [code] = (await exited) as [number | null];
    t.equal(code, 0);
    t.equal(output(), 'begun\nfinished\n');
  }
  t.equal(await gateway.exited, 0);
  t.match(gateway.log(), /"cutOff":0.*the devices have left/);
});

t.test('an agent is told that the gateway goes away', NEEDS, async (t) => {
  const folder = await temporaryFolder(t);
  const gateway = await start(t, folder, ADDED);
  const { key, service } = await agentDevice(t, folder, gateway, 9);
  await gateway.online(key);
  await until('it to have told that it speaks v1', async () => {
    const { body } = await gateway.rest(`GET /api/tunnel/servers/${key}/session`);
    return (body as { session: { client: string } | null }).session?.client === 'v1';
  });
  t.equal(await gateway.stop(), 0);
  await until('the device to be told', () => service.log().includes('session.going-away'));
  const { tunnel } = await service.status();
  t.match(tunnel?.lastFailure, { code: 'session.going-away', sentence: 'the peer is going away: shutdown' });
  const again = await start(t, folder, gateway.settings);
  await again.online(key);
  const { body } = await again.rest(`GET /api/tunnel/servers/${key}/logs`);
  const end = (body as { items: { event: string }[] }).items.find(({ event }) => event === 'disconnect');
  t.match(end, { entry: 'agent', client: 'v1', reason: 'shutdown' });
});

t.test('one device in both entries, at once and in turn: the newer wins, at the same port', NEEDS, async (t) => {
  const folder = await temporaryFolder(t);
  const gateway = await start(t, folder, ADDED);
  const { sshd, run } = await maintenance(t, folder);
  const { key, service } = await agentDevice(t, join(folder, 'agent'), gateway, sshd.port);
  await gateway.online(key);
  const port = await open(t, gateway, key);
  t.match(await run(port, 'echo by agent'), { stdout: 'by agent\n' });

  const { token } = (await gateway.json(['token', 'show', key])) as { token: string };
  const ssh = startSsh(t, gateway.ports.ssh, token, ['-N', ...remotes(sshd.port)]);
  t.strictSame(await ssh.ports(1), [port], 'the port of the service, whichever way it comes');
  await until('the agent to be told', () => service.log().includes('session_replaced'));
  t.equal(await ssh.end, 255, 'the agent comes back, and is the newer one then');
  t.match(ssh.stderr(), 'session_replaced');
  t.match(await run(port, 'echo again'), { stdout: 'again\n' });

  t.equal(await service.stop(), 0);
  const alone = startSsh(t, gateway.ports.ssh, token, ['-N', ...remotes(sshd.port)]);
  t.strictSame(await alone.ports(1), [port]);
  t.match(await run(port, 'echo by ssh'), { stdout: 'by ssh\n' });
  t.equal(await open(t, gateway, key), port);
});

t.test('a second signal ends it at once', NEEDS, async (t) => {
  const folder = await temporaryFolder(t);
  const gateway = await start(t, folder, ADDED);
  const device = await maintenance(t, folder);
  const { key } = await agentDevice(t, join(folder, 'agent'), gateway, device.sshd.port);
  await gateway.online(key);
  const { output, child } = device.spawn(await open(t, gateway, key), 'echo begun; sleep 60');
  await until('the work to begin', () => output().includes('begun'));
  const cut = once(child, 'exit');
  gateway.signal('SIGTERM');
  await until('the drain', () => gateway.log().includes('the devices finish what is open'));
  gateway.signal('SIGTERM');
  t.equal(await gateway.exited, 0);
  t.match(gateway.log(), /"cutOff":1/);
  const [code] = (await cut) as [number | null];
  t.equal(code, 255, 'the work was cut off');
});
