import { once } from 'node:events';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { join, resolve } from 'node:path';
import t, { type Test } from 'tap';
import { makeTunnelToken } from '../../src/gateway/tokens.ts';
import { freeRange, startTunnelGateway } from '../support/gateway.ts';
import { run } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { startService } from '../support/tcp-services.ts';
import { until } from '../support/until.ts';
import { remotes, runSsh, sshArgs, startProgram, startSsh } from './ssh/client.ts';
import { start as startGateway, temporaryFolder } from './support.ts';

// The acceptance criteria of the story about the tunnel infrastructure, each with the program as it ships and with the
// OpenSSH client of the machine.

const NEEDS = requires('ssh');

// One gateway for all of them, since a start takes its time; each test has devices of its own.
const folder = await temporaryFolder(t);
let gateway = await startGateway(t, folder);

async function restart(signal: NodeJS.Signals): Promise<void> {
  await gateway.stop(signal);
  gateway = await startGateway(t, folder, gateway.settings);
}

interface Status {
  status: string;
  services: { service_name: string; tunnel_port: number | null }[];
}

interface Logs {
  items: { event: string; reason?: string; detail?: Record<string, string | number> }[];
}

/** Makes a device and gives its tunnel token. */
async function addDevice(key: string, to = gateway): Promise<string> {
  const device = { devicekey: key, token_code: `${key}-0123456789`, device_type: 'beamer', distribution: 'debian' };
  const created = await to.rest('POST /api/devices/manual-create', device);
  if (created.status !== 201) throw new Error(JSON.stringify(created.body));
  const { body } = await to.rest(`POST /api/tunnel/servers/${key}/token`);
  return (body as { token: string }).token;
}

const statusOf = async (key: string) => (await gateway.rest(`GET /api/tunnel/servers/${key}/status`)).body as Status;

const portsOf = async (key: string) => (await statusOf(key)).services.map(({ tunnel_port }) => tunnel_port);

const logsOf = async (key: string) => ((await gateway.rest(`GET /api/tunnel/servers/${key}/logs`)).body as Logs).items;

async function offline(key: string): Promise<void> {
  await until(`${key} to be offline`, async () => (await statusOf(key)).status === 'offline');
}

/** A service on the device that says its name to each who comes. */
async function named(t: Test, name: string): Promise<number> {
  const service = await startService((socket) => void socket.end(name));
  t.teardown(() => service.close());
  return service.port;
}

/** What is said at a port, to the end; rejects where nobody listens. */
async function read(port: number): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  const text = Buffer.concat((await socket.toArray()) as Buffer[]).toString();
  socket.destroy();
  return text;
}

/** Both ends of the range of ports that the gateway gives out. */
function range(): [number, number] {
  const [start = 0, end = 0] = (gateway.settings.GATEWAY_PORT_RANGE ?? '').split('-').map(Number);
  return [start, end];
}

/** The options of a client that takes this line of known_hosts, and no other key. */
async function pinned(t: Test, hostKey: string): Promise<string[]> {
  const knownHosts = join(await temporaryFolder(t), 'known_hosts');
  await writeFile(knownHosts, hostKey);
  return ['-o', 'StrictHostKeyChecking=yes', '-o', `UserKnownHostsFile=${knownHosts}`];
}

/** How each of so many strangers at once is met: with the greeting of the SSH entry, or closed without a word. */
async function knock(t: Test, port: number, count: number): Promise<{ greeted: number; closed: number }> {
  const sockets: Socket[] = [];
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
  });
  const met = await Promise.all(
    Array.from({ length: count }, async () => {
      const socket = connect({ port, host: '127.0.0.1', localAddress: '127.0.0.2' });
      sockets.push(socket);
      return Promise.race([once(socket, 'data').then(String), once(socket, 'close').then(() => null)]);
    }),
  );
  const greeted = met.filter((answer) => answer?.startsWith('SSH-2.0-')).length;
  return { greeted, closed: met.filter((answer) => answer === null).length };
}

t.test(
  'AC 1: started without a word about ports, the gateway takes SSH at port 2222',
  requires('root', 'namespaces', 'ip', 'nsenter', 'ssh-keyscan'),
  async (t) => {
    const defaults = { GATEWAY_SSH_HOST: '', GATEWAY_SSH_PORT: '', GATEWAY_AGENT_PORT: '', GATEWAY_HTTP_PORT: '' };
    const wrapper = ['unshare', '-n', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh']; // a network without others
    const folder = await temporaryFolder(t);
    const alone = await startTunnelGateway(folder, { ...defaults, GATEWAY_PORT_RANGE: '' }, { wrapper });
    t.teardown(() => alone.stop('SIGKILL'));
    t.equal(alone.ports.ssh, 2222);
    for (const address of ['127.0.0.1', '::1']) {
      const scan = ['ssh-keyscan', '-t', 'ed25519', '-p', '2222', address];
      const { stdout } = await run('nsenter', ['-t', String(alone.pid), '-n', ...scan]);
      const [, , key] = stdout.trim().split(' ');
      t.ok(key, address);
      t.match(readFileSync(join(folder, 'data/ssh_host_ed25519_key.pub'), 'utf8'), key);
    }
  },
);

t.test('AC 2: OpenSSH comes in as TOKEN@gateway, by "none", and is asked nothing', NEEDS, async (t) => {
  const own = await temporaryFolder(t);
  const token = await addDevice('device-2a');
  await writeFile(join(own, 'askpass'), `#!/bin/sh\ntouch ${join(own, 'asked')}\n`, { mode: 0o755 });
  const env = { ...process.env, SSH_ASKPASS: join(own, 'askpass'), SSH_ASKPASS_REQUIRE: 'force' };
  const args = sshArgs(gateway.ports.ssh, token, ['-v', '-N', ...remotes(await named(t, 'sshd'))]);
  const client = startProgram(t, 'ssh', args, env);
  await client.ports(1);
  t.match(client.stderr(), /^Authenticated to 127\.0\.0\.1 .* using "none"\.\r?$/m);
  t.notOk(readdirSync(own).includes('asked'), 'no prompt');
  t.equal((await statusOf('device-2a')).status, 'online');
});

t.test('AC 3: strangers come in at ten a second, eleven at once', async (t) => {
  const fromMs = performance.now();
  const { greeted, closed } = await knock(t, gateway.ports.ssh, 40);
  const more = Math.ceil((performance.now() - fromMs) / 100);
  t.ok(greeted >= 10 && greeted <= 11 + more, `${greeted} greeted; the test before may have been one of the eleven`);
  t.equal(greeted + closed, 40, 'the others are closed without a word');
});

t.test('AC 3: fifty handshakes at a time; they keep no known device out, and it takes no place', NEEDS, async (t) => {
  const other = await startGateway(t, await temporaryFolder(t), { GATEWAY_CONN_RATE: '1000' });
  const token = await addDevice('device-3a', other);
  const args = ['-N', ...remotes(await named(t, 'sshd'))];
  await startSsh(t, other.ports.ssh, token, args).ports(1);
  t.strictSame(await knock(t, other.ports.ssh, 70), { greeted: 50, closed: 20 });
  await startSsh(t, other.ports.ssh, await addDevice('device-3b', other), args).ports(1);
});

t.test('AC 4: an invalid token is refused before any channel or forward, and leaves no port', NEEDS, async (t) => {
  const token = await addDevice('device-4a');
  const wrong = token.startsWith('A') ? `B${token.slice(1)}` : `A${token.slice(1)}`;
  const { code, stderr } = await runSsh(gateway.ports.ssh, wrong, ['-v', '-N', ...remotes(22)]);
  t.equal(code, 255);
  t.match(stderr, /: Permission denied /);
  t.notMatch(stderr, /Authenticated to|forward success|Allocated port|client-session/);
  t.strictSame(await portsOf('device-4a'), [null, null]);
  t.equal((await statusOf('device-4a')).status, 'offline');
  t.notMatch(gateway.log(), wrong);
});

t.test('AC 5: -R 0:localhost:22 is given a port of the range, and told it in the reply', NEEDS, async (t) => {
  const token = await addDevice('device-5a');
  const client = startSsh(t, gateway.ports.ssh, token, ['-N', ...remotes(await named(t, 'sshd'))]);
  const [port = 0] = await client.ports(1);
  const [first, last] = range();
  t.ok(port >= first && port <= last, `${port} is of ${first}-${last}`);
  t.strictSame(await portsOf('device-5a'), [port, null], 'a service that was not asked for has none');
  t.equal(await read(port), 'sshd');
});

t.test('AC 6: -R 0:localhost:80 behind it is given another one', NEEDS, async (t) => {
  const token = await addDevice('device-6a');
  const args = ['-N', ...remotes(await named(t, 'sshd'), await named(t, 'httpd'))];
  const [ssh = 0, http = 0] = await startSsh(t, gateway.ports.ssh, token, args).ports(2);
  t.not(http, ssh);
  t.ok(http >= range()[0] && http <= range()[1]);
  t.strictSame(await portsOf('device-6a'), [ssh, http]);
  t.strictSame([await read(ssh), await read(http)], ['sshd', 'httpd']);
});

t.test('AC 7: two connections with one token get the same ports, at once and one after the other', NEEDS, async (t) => {
  const token = await addDevice('device-7a');
  const connection = async (name: string) => {
    const services = [await named(t, `${name} sshd`), await named(t, `${name} httpd`)];
    return startSsh(t, gateway.ports.ssh, token, ['-N', ...remotes(...services)]);
  };
  const first = await connection('first');
  const ports = await first.ports(2);
  const second = await connection('second');
  t.strictSame(await second.ports(2), ports, 'while the first is there');
  t.equal(await first.end, 255, 'which is sent away');
  t.match(first.stderr(), 'session_replaced');
  t.equal(await read(ports[1] ?? 0), 'second httpd');
  t.equal((await statusOf('device-7a')).status, 'online', 'the end of the first takes nothing away');
  await second.stop();
  await offline('device-7a');
  await startSsh(t, gateway.ports.ssh, await addDevice('device-7b'), ['-N', ...remotes(22, 80)]).ports(2);
  const third = await connection('third');
  t.strictSame(await third.ports(2), ports, 'after another device came in between');
});

t.test('AC 8: the host key stays the same over a restart', NEEDS, async (t) => {
  const token = await addDevice('device-8a');
  const file = join(folder, 'data/ssh_host_ed25519_key');
  const key = readFileSync(file, 'utf8');
  t.equal(statSync(file).mode & 0o777, 0o600);
  const line = (await gateway.rest('GET /api/ssh-hostkey')).body as string;
  const forward = ['-N', ...remotes(await named(t, 'sshd'))];
  const args = [...(await pinned(t, line)), ...forward];
  await startSsh(t, gateway.ports.ssh, token, args).ports(1);
  await restart('SIGTERM');
  t.equal(readFileSync(file, 'utf8'), key);
  const other = line.replace(/.{8}$/m, 'AAAAAAAA');
  const { stderr } = await runSsh(gateway.ports.ssh, token, [...(await pinned(t, other)), ...forward]);
  t.match(stderr, 'Host key verification failed', 'another key would be noticed');
  await startSsh(t, gateway.ports.ssh, token, args).ports(1);
});

t.test('AC 9: after a restart the ports of all devices are reserved, also before they come', NEEDS, async (t) => {
  const token = await addDevice('device-9a');
  const args = ['-N', ...remotes(await named(t, 'sshd'), await named(t, 'httpd'))];
  const ports = await startSsh(t, gateway.ports.ssh, token, args).ports(2);
  await restart('SIGKILL');
  t.strictSame(await portsOf('device-9a'), ports);
  const other = startSsh(t, gateway.ports.ssh, await addDevice('device-9b'), args);
  const others = await other.ports(2);
  t.notOk(
    others.some((port) => ports.includes(port)),
    'another device that comes first is given others',
  );
  t.strictSame(await startSsh(t, gateway.ports.ssh, token, args).ports(2), ports);
});

t.test('AC 10: a port that another program took is replaced, told, and given to nobody again', NEEDS, async (t) => {
  const token = await addDevice('device-10a');
  const args = ['-N', ...remotes(await named(t, 'sshd'))];
  const client = startSsh(t, gateway.ports.ssh, token, args);
  const [oldPort = 0] = await client.ports(1);
  await client.stop();
  await offline('device-10a');

  const thief = createServer().listen(oldPort, '127.0.0.1');
  t.teardown(() => thief.close());
  await once(thief, 'listening');
  const [newPort = 0] = await startSsh(t, gateway.ports.ssh, token, args).ports(1);
  t.not(newPort, oldPort);
  t.equal(await read(newPort), 'sshd');
  const told = (await logsOf('device-10a')).find(({ event }) => event === 'port_conflict_resolved');
  t.match(told, { service: 'ssh', old_port: oldPort, new_port: newPort });

  thief.close();
  const blocked = (await gateway.rest('GET /api/tunnel/ports/blocked')).body;
  t.match(blocked, { items: [{ port: oldPort }] });
  await restart('SIGTERM');
  const [others] = await startSsh(t, gateway.ports.ssh, await addDevice('device-10b'), args).ports(1);
  t.notOk([oldPort, newPort].includes(others ?? 0), 'free again, and after a restart: nobody is given it');
  t.strictSame(await startSsh(t, gateway.ports.ssh, token, args).ports(1), [newPort]);
});

t.test('AC 11: the ports of a device that is removed are free, and another device is given them', NEEDS, async (t) => {
  // Ports that nobody had come first, so that a page left open does not meet another device: there are two ports here.
  const [start] = (await freeRange()).split('-').map(Number);
  const small = await startGateway(t, await temporaryFolder(t), { GATEWAY_PORT_RANGE: `${start}-${(start ?? 0) + 1}` });
  const args = ['-N', ...remotes(await named(t, 'sshd'), await named(t, 'httpd'))];
  const client = startSsh(t, small.ports.ssh, await addDevice('device-11a', small), args);
  const ports = await client.ports(2);
  t.equal((await small.rest('DELETE /api/devices/device-11a')).status, 200);
  t.equal(await client.end, 255);
  const other = startSsh(t, small.ports.ssh, await addDevice('device-11b', small), args);
  t.strictSame((await other.ports(2)).sort(), ports);
});

t.test('AC 12: a token is 52 characters of A-Z and 2-7, that of the program too', async (t) => {
  t.match(await addDevice('device-12a'), /^[A-Z2-7]{52}$/);
  const tokens = new Set(Array.from({ length: 1000 }, () => makeTunnelToken()));
  t.equal(tokens.size, 1000);
  for (const token of tokens) if (!/^[A-Z2-7]{52}$/.test(token)) t.fail(token);
  t.equal(new Set([...tokens].join('')).size, 32, 'all characters occur');
});

t.test('AC 13: many come with few tokens at once: each device has one session, and its ports', NEEDS, async (t) => {
  const keys = ['device-13a', 'device-13b'];
  const args = ['-N', ...remotes(await named(t, 'sshd'), await named(t, 'httpd'))];
  const tokens = await Promise.all(keys.map((key) => addDevice(key)));
  const clients = tokens.flatMap((token) =>
    Array.from({ length: 4 }, () => startSsh(t, gateway.ports.ssh, token, args)),
  );
  const left = () => clients.filter(({ child }) => child.exitCode === null);
  await until('one of each to be left', async () => {
    for (const key of keys) await statusOf(key); // asked all the while
    return left().length === keys.length;
  });
  const given = await Promise.all(left().map((client) => client.ports(2)));
  t.strictSame(given.sort(), (await Promise.all(keys.map((key) => portsOf(key)))).sort());
  t.equal(new Set(given.flat()).size, 4);
  const { body } = await gateway.rest('GET /api/tunnel/overview');
  t.equal(
    (body as { items: { device_key: string; status: string }[] }).items.filter(
      ({ device_key, status }) => keys.includes(device_key) && status === 'online',
    ).length,
    2,
  );
  for (const { child } of left()) child.kill();
  for (const key of keys) await offline(key);
});

t.test('AC 14: the core of the gateway imports no database, no HTTP framework and no SSH library', async (t) => {
  const core = resolve(import.meta.dirname, '../../../src/gateway');
  const files = readdirSync(core).filter((file) => file.endsWith('.ts'));
  t.ok(files.length > 20, 'there is something to check');
  for (const file of files) {
    const text = readFileSync(join(core, file), 'utf8');
    const from = [...text.matchAll(/\bfrom\s+'([^']+)'|\bimport\(?\s*'([^']+)'/g)].map(([, a, b]) => a ?? b ?? '');
    for (const name of from) {
      t.match(
        name,
        /^(?:node:(?!https?$|http2$|sqlite$)|\.\/[a-z-]+\.ts$|\.\.\/(?:config|link|protocol|support)\/)/,
        file,
      );
    }
  }
});
