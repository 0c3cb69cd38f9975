import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { loadHostKey } from '../../../src/gateway/ssh/host-key.ts';
import { run } from '../../support/processes.ts';
import { requires } from '../../support/requires.ts';
import { makeKey, sshOptions, startSshd } from '../../support/sshd.ts';
import { startService } from '../../support/tcp-services.ts';
import { testLog } from '../../support/test-log.ts';
import { until } from '../../support/until.ts';
import { remotes, runSsh, sshArgs, startProgram, startSsh } from './client.ts';
import { newToken, startGateway, temporaryFolder } from './support.ts';

const needs = requires('ssh');

/** A service on the device that says its name to each who comes. */
async function named(t: Test, name: string): Promise<number> {
  const service = await startService((socket) => void socket.end(name));
  t.teardown(() => service.close());
  return service.port;
}

async function read(port: number): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  const answer = Buffer.concat((await socket.toArray()) as Buffer[]).toString();
  socket.destroy();
  return answer;
}

t.test('AC: OpenSSH comes in as TOKEN@gateway and is asked nothing', needs, async (t) => {
  const gateway = await startGateway(t);
  const token = await gateway.add('device-a');
  const folder = await temporaryFolder(t);
  const asked = join(folder, 'asked');
  await writeFile(join(folder, 'askpass'), `#!/bin/sh\ntouch ${asked}\n`, { mode: 0o755 });
  const env = { ...process.env, SSH_ASKPASS: join(folder, 'askpass'), SSH_ASKPASS_REQUIRE: 'force' };
  const [ssh, http] = [await named(t, 'sshd'), await named(t, 'httpd')];
  const client = startProgram(t, 'ssh', sshArgs(gateway.port, token, ['-N', ...remotes(ssh, http)]), env);
  await client.ports(2);
  t.notOk(existsSync(asked), 'no prompt');
  t.equal(gateway.core.sessions.current('device-a')?.facts().client.startsWith('OpenSSH_'), true);

  const wrong = startProgram(t, 'ssh', sshArgs(gateway.port, newToken(), ['-N', ...remotes(ssh)]), env);
  t.equal(await wrong.end, 255);
  t.notOk(existsSync(asked), 'a wrong token is refused without a prompt, too');
});

t.test('AC: each -R 0 gets a port of the range, of its own, and the reply tells it', needs, async (t) => {
  const gateway = await startGateway(t);
  const token = await gateway.add('device-a');
  const client = startSsh(t, gateway.port, token, ['-N', ...remotes(await named(t, 'sshd'), await named(t, 'httpd'))]);
  const [ssh = 0, http = 0] = await client.ports(2);
  t.strictSame([ssh, http], [gateway.portOf('device-a', 'ssh'), gateway.portOf('device-a', 'http')]);
  t.equal(http, ssh + 1, 'the lowest that are free');
  t.equal(await read(ssh), 'sshd', 'the first request is the first service');
  t.equal(await read(http), 'httpd');
});

t.test('AC: the same token gets the same ports again, after a restart of the gateway too', needs, async (t) => {
  const gateway = await startGateway(t);
  await gateway.add('device-0'); // takes no port as long as it does not come
  const token = await gateway.add('device-a');
  const args = ['-N', ...remotes(await named(t, 'sshd'), await named(t, 'httpd'))];
  const first = startSsh(t, gateway.port, token, args);
  const ports = await first.ports(2);
  await first.stop();
  await until('the end', () => gateway.core.sessions.all().length === 0);
  t.equal(await read(ports[0] ?? 0).catch(({ code }) => code), 'ECONNREFUSED', 'nothing listens meanwhile');
  const other = startSsh(t, gateway.port, await gateway.add('device-b'), args);
  t.strictSame(
    (await other.ports(2)).some((port) => ports.includes(port)),
    false,
    'nobody else is given them',
  );

  const second = startSsh(t, gateway.port, token, args);
  t.strictSame(await second.ports(2), ports);
  await gateway.restart();
  t.equal(await second.end, 255);
  t.match(second.stderr(), /^Received disconnect from .*:11: shutdown\r?$/m);
  const third = startSsh(t, gateway.port, token, args);
  t.strictSame(await third.ports(2), ports);
  t.equal(await read(ports[1] ?? 0), 'httpd');
});

t.test(
  'the same device twice at once: the newer wins, with the same ports, and the older is told',
  needs,
  async (t) => {
    const gateway = await startGateway(t);
    const token = await gateway.add('device-a');
    const old = startSsh(t, gateway.port, token, ['-N', ...remotes(await named(t, 'old'))]);
    const ports = await old.ports(1);
    const newer = startSsh(t, gateway.port, token, ['-N', ...remotes(await named(t, 'new'))]);
    t.strictSame(await newer.ports(1), ports);
    t.equal(await old.end, 255);
    t.match(old.stderr(), /^Received disconnect from .*:11: session_replaced\r?$/m);
    t.equal(await read(ports[0] ?? 0), 'new');
    t.equal(gateway.core.sessions.all().length, 1, 'the end of the older takes nothing from its successor');
  },
);

t.test('AC: a token that is not valid is refused inside authentication, before any channel', needs, async (t) => {
  const gateway = await startGateway(t);
  const right = await gateway.add('device-a');
  const late = await gateway.add('device-b');
  const revoked = await gateway.add('device-c');
  const paused = await gateway.add('device-d');
  const unauthorized = await gateway.add('device-e');
  const { operations } = gateway.core;
  await operations.tunnelToken('device-b', { rotate: true });
  await operations.remove('device-c');
  await operations.pause('device-d', Date.now() + 60_000);
  await operations.authorize('device-e', false);
  const denied = /: Permission denied \(token-as-user\)\.\r?$/m;
  const cases = [
    ['unknown', newToken(), denied],
    ['rotated', late, denied],
    ['of a removed device', revoked, denied],
    ['in small letters', right.toLowerCase(), denied],
    ['one character short', right.slice(1), denied],
    ['no token at all', 'root', denied],
    ['very long', 'A'.repeat(500), denied],
    ['of a paused device', paused, /^Received disconnect from .*:14: the device is paused until \d{4}-/m],
    ['of an unauthorized device', unauthorized, /^Received disconnect from .*:14: the device is not authorized/m],
  ] as const;
  await Promise.all(
    cases.map(async ([what, user, answer], index) => {
      const from = ['-b', `127.0.0.${index + 2}`]; // each wrong one from the same address takes longer than the last
      const { code, stderr } = await runSsh(gateway.port, user, [...from, '-v', '-N', ...remotes(22)]);
      t.equal(code, 255, what);
      t.match(stderr, answer, what);
      t.notMatch(stderr, /Authenticated to|remote forward/, what);
    }),
  );
  t.equal(gateway.core.sessions.all().length, 0);
  const logged = JSON.stringify(gateway.log.lines);
  for (const token of [right, late, revoked, paused, unauthorized])
    t.notOk(logged.includes(token), 'no token is logged');
});

t.test('what an operator does to a device ends its session, with the reason in the words of ssh', needs, async (t) => {
  const gateway = await startGateway(t);
  const { operations } = gateway.core;
  for (const [reason, act] of [
    ['operator_disconnect', async (key: string) => operations.disconnect(key)],
    ['paused_by_operator', (key: string) => operations.pause(key, Date.now() + 60_000)],
    ['token_rotated', (key: string) => operations.tunnelToken(key, { rotate: true })],
  ] as const) {
    const client = startSsh(t, gateway.port, await gateway.add(reason), ['-N', ...remotes(await named(t, 'sshd'))]);
    await client.ports(1);
    const fromMs = performance.now();
    await act(reason);
    t.equal(await client.end, 255);
    t.ok(performance.now() - fromMs < 2_000, `gone within 2 s: ${reason}`);
    t.match(client.stderr(), new RegExp(`^Received disconnect from .*:11: ${reason}\r?$`, 'm'));
    await until('the end', () => gateway.core.sessions.current(reason) === null);
    const [{ event, reason: kept } = { event: '', reason: '' }] = (await operations.audit(reason, 9)).filter(
      (one) => one.event === 'disconnect',
    );
    t.strictSame([event, kept], ['disconnect', reason]);
  }
});

t.test('a device may use its own port by number, and no other', needs, async (t) => {
  const gateway = await startGateway(t);
  const token = await gateway.add('device-a');
  const service = await named(t, 'httpd');
  const first = startSsh(t, gateway.port, token, ['-N', ...remotes(await named(t, 'sshd'), service)]);
  await first.ports(2);
  await first.stop();
  const [ssh, http] = [gateway.portOf('device-a', 'ssh'), gateway.portOf('device-a', 'http')];

  const own = startSsh(t, gateway.port, token, ['-v', '-N', '-R', `${http}:localhost:${service}`]);
  await until('the forward', () => own.stderr().includes('remote forward success'));
  t.equal(await read(http), 'httpd');
  t.equal(await read(ssh).catch(({ code }) => code), 'ECONNREFUSED');
  await own.stop();

  for (const port of [http + 1, 80, 65_535]) {
    const args = ['-N', '-o', 'ExitOnForwardFailure=yes', '-R', `${port}:localhost:${service}`];
    const { code, stderr } = await runSsh(gateway.port, token, args);
    t.equal(code, 255);
    t.match(stderr, `remote port forwarding failed for listen port ${port}`);
  }
});

t.test('a request beyond the services of the device fails, and takes nothing from the others', needs, async (t) => {
  const gateway = await startGateway(t);
  const token = await gateway.add('device-a');
  const [ssh, http, more] = [await named(t, 'sshd'), await named(t, 'httpd'), await named(t, 'more')];
  const client = startSsh(t, gateway.port, token, ['-N', ...remotes(ssh, http, more)]);
  const [first = 0, second = 0] = await client.ports(2);
  await until('the refusal', () => client.stderr().includes(`remote port forwarding failed for listen port 0`));
  t.strictSame([await read(first), await read(second)], ['sshd', 'httpd']);
  t.ok(gateway.log.has(/the device has 2 services, and asked for one more/));
  const strict = ['-N', '-o', 'ExitOnForwardFailure=yes', ...remotes(ssh, http, more)];
  t.equal((await runSsh(gateway.port, token, strict)).code, 255);
});

t.test('a service that nobody named a local port for is not among those that the order means', needs, async (t) => {
  const gateway = await startGateway(t);
  const services = ['ssh', 'debug', 'http'].map((name) => ({ name, localPort: null }));
  const token = await gateway.add('device-a', services);
  const client = startSsh(t, gateway.port, token, ['-N', ...remotes(await named(t, 'sshd'), await named(t, 'httpd'))]);
  t.strictSame(await client.ports(2), [gateway.portOf('device-a', 'ssh'), gateway.portOf('device-a', 'http')]);
});

t.test('whatever bind address a device asks for, the port listens where the gateway was told to', needs, async (t) => {
  const gateway = await startGateway(t);
  const addresses = ['', 'localhost', '127.0.0.1', '*', '0.0.0.0', '::', 'example.org'];
  const services = addresses.map((_, index) => ({ name: `service-${index}`, localPort: 22 }));
  const token = await gateway.add('device-a', [{ name: 'ssh', localPort: 22 }, ...services]);
  const ports = await Promise.all(addresses.map((address) => named(t, `for ${address}`)));
  const first = await named(t, 'sshd');
  const args = addresses.flatMap((address, index) => [
    '-R',
    `${address.includes(':') ? `[${address}]` : address}:0:localhost:${ports[index]}`,
  ]);
  const client = startSsh(t, gateway.port, token, ['-N', ...remotes(first), ...args]);
  const [, ...allocated] = await client.ports(addresses.length + 1);
  for (const [index, port] of allocated.entries()) t.equal(await read(port), `for ${addresses[index]}`);
});

t.test('a forward can be taken back, and asked for again', needs, async (t) => {
  const gateway = await startGateway(t);
  const token = await gateway.add('device-a');
  const service = await named(t, 'sshd');
  const control = join(await temporaryFolder(t), 'control');
  const client = startSsh(t, gateway.port, token, ['-M', '-S', control, '-N', ...remotes(service)]);
  const [port = 0] = await client.ports(1);
  const command = (name: string) => run('ssh', ['-S', control, '-O', name, ...remotes(service), 'gateway']);
  t.equal((await command('cancel')).code, 0);
  t.equal(await read(port).catch(({ code }) => code), 'ECONNREFUSED');
  const again = await command('forward');
  t.equal(again.stdout.trim(), String(port), again.stderr);
  t.equal(await read(port), 'sshd');
});

t.test('AC: the host key stays the same: a client that pinned it comes back after a restart', needs, async (t) => {
  const gateway = await startGateway(t);
  const token = await gateway.add('device-a');
  const knownHosts = join(await temporaryFolder(t), 'known_hosts');
  await writeFile(knownHosts, `[127.0.0.1]:${gateway.port} ${gateway.hostKey.publicKey}\n`);
  const pinned = ['-o', 'StrictHostKeyChecking=yes', '-o', `UserKnownHostsFile=${knownHosts}`];
  const args = [...pinned, '-N', ...remotes(await named(t, 'sshd'))];
  await startSsh(t, gateway.port, token, args).ports(1);
  await gateway.restart();
  await startSsh(t, gateway.port, token, args).ports(1);

  const other = await loadHostKey(await temporaryFolder(t), testLog().log);
  await writeFile(knownHosts, `[127.0.0.1]:${gateway.port} ${other.publicKey}\n`);
  const { stderr } = await runSsh(gateway.port, token, args);
  t.match(stderr, 'Host key verification failed', 'another key would be noticed');
});

t.test('a technician reaches the sshd of the device through its public port', requires('ssh', 'sshd'), async (t) => {
  const gateway = await startGateway(t);
  const token = await gateway.add('device-a');
  const folder = await temporaryFolder(t);
  const key = await makeKey(join(folder, 'id'), 'technician');
  const keys = `AuthorizedKeysFile ${key.path}.pub`;
  const sshd = await startSshd(join(folder, 'sshd'), `${keys}\nPermitRootLogin prohibit-password\nUsePAM no`);
  t.teardown(() => sshd.stop());
  const [port = 0] = await startSsh(t, gateway.port, token, ['-N', ...remotes(sshd.port)]).ports(1);
  const knownHosts = join(folder, 'known_hosts');
  await writeFile(knownHosts, sshd.knownHosts.replace(`:${sshd.port} `, `:${port} `));
  const target = ['-p', String(port), `${sshd.user}@127.0.0.1`];
  const input = randomBytes(300_000).toString('base64');
  const done = await run('ssh', [...sshOptions(key.path, knownHosts), ...target, 'cat; echo gone >&2; exit 7'], {
    input,
  });
  t.equal(done.code, 7, done.stderr);
  t.ok(done.stdout === input, 'what went in came back');
});

t.test('much data both ways at once, while the keys are changed again and again', needs, async (t) => {
  const gateway = await startGateway(t);
  const token = await gateway.add('device-a');
  const data = randomBytes(48 * 1024 * 1024);
  const sum = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
  const arrived: Buffer[] = [];
  const service = await startService((socket: Socket) => {
    socket.on('data', (bytes) => arrived.push(bytes));
    socket.end(data); // half closed: the other way goes on
  });
  t.teardown(() => service.close());
  const args = ['-N', '-o', 'RekeyLimit=2M', ...remotes(service.port)];
  const [port = 0] = await startSsh(t, gateway.port, token, args).ports(1);
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  socket.end(data);
  const chunks: Buffer[] = [];
  socket.on('data', (bytes: Buffer) => chunks.push(bytes));
  await once(socket, 'end');
  const received = Buffer.concat(chunks);
  t.equal(sum(received), sum(data), 'down');
  await until('the rest', () => arrived.reduce((bytes, one) => bytes + one.length, 0) >= data.length);
  t.equal(sum(Buffer.concat(arrived)), sum(data), 'up');
  await until('the stream to be closed', () => gateway.core.sessions.all()[0]?.facts().streams === 0);
});

t.test('algorithms: every one that is offered works, and each half of the list by itself', needs, async (t) => {
  const gateway = await startGateway(t);
  const service = await named(t, 'sshd');
  const token = await gateway.add('device-a');
  for (const args of [
    ['-c', 'aes128-gcm@openssh.com'],
    ['-c', 'aes256-gcm@openssh.com'],
    ['-c', 'aes128-ctr', '-m', 'hmac-sha2-256-etm@openssh.com'],
    ['-c', 'aes256-ctr', '-m', 'hmac-sha2-512-etm@openssh.com'],
    ['-c', 'aes256-ctr', '-m', 'hmac-sha2-256'],
    ['-c', 'aes128-ctr', '-m', 'hmac-sha2-512'],
    ['-o', 'KexAlgorithms=curve25519-sha256@libssh.org'],
    ['-o', 'KexAlgorithms=ecdh-sha2-nistp256'],
    ['-C'],
  ]) {
    const client = startSsh(t, gateway.port, token, [...args, '-N', ...remotes(service)]);
    const [port = 0] = await client.ports(1);
    t.equal(await read(port), 'sshd', args.join(' '));
    await client.stop();
  }
  const { stderr } = await runSsh(gateway.port, token, ['-c', 'chacha20-poly1305@openssh.com', '-N']);
  t.match(stderr, /no matching cipher found. Their offer: aes128-gcm/);
});
