import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { copyFile, mkdtemp, readdir, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { makeCertificate } from '../support/certificates.ts';
import { gatewaySettings, startTunnelGateway, type TunnelGateway, tunnelGateway } from '../support/gateway.ts';
import { endChild, type Output, run } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { startService } from '../support/service.ts';
import { makeKey, type Sshd, sshOptions, startSshd } from '../support/sshd.ts';
import { until } from '../support/until.ts';

async function temporaryFolder(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'zeroforce-gateway-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** A gateway that goes with the test, however it ends. */
async function start(t: Test, folder: string, settings: Record<string, string> = {}, args: string[] = []) {
  const gateway = await startTunnelGateway(folder, settings, { args });
  t.teardown(() => gateway.stop('SIGKILL'));
  return gateway;
}

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

/** Adds a device by the command line, and gives what the device has to know. */
async function addDevice(gateway: TunnelGateway, sshPort: number): Promise<{ key: string; token: string }> {
  const { devicekey, token_code } = (await gateway.json(['device', 'add'])) as Record<string, string>;
  if (devicekey === undefined || token_code === undefined) throw new Error('not added');
  await gateway.json(['forwards', 'set', devicekey, `ssh=${sshPort}`]);
  return { key: devicekey, token: token_code };
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

function online(gateway: TunnelGateway, key: string): Promise<unknown> {
  return until(`${key} to be online`, async () => {
    const { items } = (await gateway.json(['sessions'])) as { items: { device_key: string }[] };
    return items.find((item) => item.device_key === key);
  });
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
    await online(gateway, key);
    const port = await open(t, gateway, key);
    t.match(await run(port, 'echo reached'), { code: 0, stdout: 'reached\n' });

    t.equal(await gateway.stop('SIGKILL'), null);
    const again = await start(t, folder, gateway.settings);
    const startedMs = performance.now();
    await online(again, key);
    t.ok(performance.now() - startedMs < 15_000, 'the device is back by itself within seconds');
    const { tunnels } = await tunnelsOf(again);
    t.match(tunnels, [{ device_key: key, service: 'ssh', port }], 'what was open still is, at the same port');
    t.match(await run(port, 'echo again'), { code: 0, stdout: 'again\n' });
    t.equal(await open(t, again, key), port);
    t.match((await service.status()).tunnel, { state: 'up' });
    t.equal(await again.stop(), 0);
    t.notMatch(again.log(), /did not stop cleanly/);
  });
}

async function tunnelsOf(gateway: TunnelGateway): Promise<{ tunnels: unknown[] }> {
  const response = await fetch(`http://127.0.0.1:${gateway.ports.http}/api/tunnels`, {
    headers: { authorization: `Bearer ${gateway.adminToken}` },
  });
  return (await response.json()) as { tunnels: unknown[] };
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
    await online(gateway, key);
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

t.test('an agent is told when to come back', NEEDS, async (t) => {
  const folder = await temporaryFolder(t);
  const gateway = await start(t, folder, ADDED);
  const { key, service } = await agentDevice(t, folder, gateway, 9);
  await online(gateway, key);
  t.equal(await gateway.stop(), 0);
  await until('the device to be told', () => /going away|shutdown/.test(service.log()));
});

t.test('a second signal ends it at once', NEEDS, async (t) => {
  const folder = await temporaryFolder(t);
  const gateway = await start(t, folder, ADDED);
  const device = await maintenance(t, folder);
  const { key } = await agentDevice(t, join(folder, 'agent'), gateway, device.sshd.port);
  await online(gateway, key);
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

/** Runs `serve` to its end: it must not start. */
const refused = async (settings: Record<string, string>, args: string[] = []) =>
  tunnelGateway(['serve', ...args], settings);

t.test('a second gateway with the same folder is refused, and the first goes on', async (t) => {
  const folder = await temporaryFolder(t);
  const gateway = await start(t, folder);
  const settings = await gatewaySettings(folder);
  const { code, stderr } = await refused(settings);
  t.equal(code, 1);
  t.match(stderr, new RegExp(`pid ${gateway.pid}.*\\n  gateway\\.running: `));
  t.match(await gateway.cli(['health']), { code: 0, stdout: 'ok\n' });
});

t.test('a taken port is told, and nothing is held by the one that did not start', async (t) => {
  const folder = await temporaryFolder(t);
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const settings = await gatewaySettings(folder);
  for (const name of ['GATEWAY_AGENT_PORT', 'GATEWAY_SSH_PORT', 'GATEWAY_HTTP_PORT']) {
    const { code, stderr } = await refused({ ...settings, [name]: String(port) });
    t.equal(code, 1, name);
    t.match(stderr, new RegExp(`${port}.*\\n  gateway\\.cannot-listen: `), name);
  }
  server.close();
  const gateway = await start(t, folder, settings);
  t.equal(await gateway.stop(), 0);
});

t.test('files that the gateway cannot do without are refused when broken, and stay as they are: exit 78', async (t) => {
  const folder = await temporaryFolder(t);
  const gateway = await start(t, folder);
  const { settings } = gateway;
  await gateway.json(['device', 'add']);
  t.equal(await gateway.stop(), 0);
  for (const [name, code] of [
    ['ssh_host_ed25519_key', 'gateway.host-key-unusable'],
    ['gateway.key', 'gateway.secret-key-unusable'],
    ['admin-token', 'gateway.admin-token-unusable'],
  ] as const) {
    const path = join(folder, 'data', name);
    await copyFile(path, `${path}.kept`);
    writeFileSync(path, 'broken');
    const output = await refused(settings);
    t.equal(output.code, 78, name);
    t.match(output.stderr, new RegExp(`${name}.*\\n  ${code}: `));
    t.equal(readFileSync(path, 'utf8'), 'broken');
    await copyFile(`${path}.kept`, path);
    await rm(`${path}.kept`);
  }
  const again = await start(t, folder, settings);
  t.equal(await again.stop(), 0);
});

t.test('a damaged database is set aside, and no start begins empty unless it is told to', async (t) => {
  const folder = await temporaryFolder(t);
  const gateway = await start(t, folder);
  const { devicekey } = (await gateway.json(['device', 'add'])) as { devicekey: string };
  const { settings } = gateway;
  t.equal(await gateway.stop(), 0);
  const path = join(folder, 'data', 'gateway.db');
  const good = readFileSync(path);
  writeFileSync(path, Buffer.alloc(good.length, 'x'));

  const first = await refused(settings);
  t.equal(first.code, 78);
  t.match(
    first.stderr,
    /gateway\.db is damaged.*set aside as .*corrupt-.*\n {2}gateway\.store-corrupt: .*--empty-store/,
  );
  const second = await refused(settings);
  t.equal(second.code, 78, 'the next start does not begin empty either');
  t.match(second.stderr, /gateway\.store-missing: /);

  const empty = await start(t, folder, settings, ['--empty-store']);
  t.match(await empty.json(['device', 'list']), { summary: { total: 0 } });
  t.equal(await empty.stop(), 0);
  const names = await readdir(join(folder, 'data'));
  t.ok(names.some((name) => name.startsWith('gateway.db.corrupt-')));

  writeFileSync(path, good, { mode: 0o600 });
  const restored = await start(t, folder, settings);
  t.match(await restored.json(['device', 'list']), { items: [{ device_key: devicekey }] });
});

t.test('a wrong environment is told as a whole: exit 78', async (t) => {
  const { code, stdout, stderr } = await refused({ GATEWAY_SSH_PORT: 'ssh', GATEWAY_HTTP_HOST: '0.0.0.0' });
  t.equal(code, 78);
  t.equal(stdout, '');
  t.match(stderr, /2 faults:\n {2}GATEWAY_SSH_PORT = "ssh".*\n {2}GATEWAY_HTTP_HOST = "0\.0\.0\.0".*\n.*config check/);
});

t.test('with a certificate REST speaks TLS, and SIGHUP reads another one at once', requires('openssl'), async (t) => {
  const folder = await temporaryFolder(t);
  const [one, other] = [makeCertificate(folder, 'one.test'), makeCertificate(folder, 'other.test')];
  const tls = { GATEWAY_TLS_CERT: join(folder, 'cert.pem'), GATEWAY_TLS_KEY: join(folder, 'key.pem') };
  const use = ({ cert, key }: typeof one) => {
    writeFileSync(tls.GATEWAY_TLS_CERT, cert);
    writeFileSync(tls.GATEWAY_TLS_KEY, key);
  };
  use(one);
  const gateway = await start(t, folder, { ...tls, GATEWAY_HTTP_HOST: '0.0.0.0' });
  t.match(await gateway.cli(['device', 'list']), { code: 0, stderr: '' });
  use(other);
  gateway.signal('SIGHUP');
  await until('the certificate to be read', () => gateway.log().includes('the certificate was read anew'), 4_000);
  t.match(await gateway.cli(['device', 'list']), { code: 0, stderr: '' });
  writeFileSync(tls.GATEWAY_TLS_CERT, 'broken');
  gateway.signal('SIGHUP');
  await until('the trouble to be told', () => gateway.log().includes('the certificate of before stays in use'));
  t.match(await gateway.cli(['health']), { code: 78, stderr: /gateway\.certificate-unusable/ });
  t.equal(await gateway.stop(), 0);
});

t.test('no token reaches a log', async (t) => {
  const folder = await temporaryFolder(t);
  const gateway = await start(t, folder, { LOG_LEVEL: 'trace' });
  const { devicekey, token_code } = (await gateway.json(['device', 'add'])) as Record<string, string>;
  const { token } = (await gateway.json(['token', 'show', String(devicekey)])) as { token: string };
  const script = await gateway.cli(['setup', String(devicekey), '--script']);
  t.match(script.stdout, token);
  t.equal(await gateway.stop(), 0);
  for (const secret of [gateway.adminToken, token_code, token]) t.notMatch(gateway.log(), String(secret));
});
