import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { copyFile, readdir, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { makeCertificate } from '../support/certificates.ts';
import { GATEWAY_PROGRAM, gatewaySettings, tunnelGateway } from '../support/gateway.ts';
import { endChild } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { until } from '../support/until.ts';
import { start, temporaryFolder } from './support.ts';

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
    t.equal(code, 1, `${name}: ${stderr}`);
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

t.test('a stop or a kill in the middle of a start leaves nothing that keeps the next one from starting', async (t) => {
  const folder = await temporaryFolder(t);
  const settings = await gatewaySettings(folder);
  for (const [index, signal] of (['SIGTERM', 'SIGKILL', 'SIGTERM', 'SIGKILL', 'SIGINT'] as const).entries()) {
    const child = spawn(GATEWAY_PROGRAM, ['serve'], { env: { PATH: process.env.PATH, ...settings }, stdio: 'ignore' });
    t.teardown(() => endChild(child, 'SIGKILL'));
    // The folder is made as the first step; from there on each round stops a bit later.
    await until('the start', () => existsSync(settings.GATEWAY_DATA_DIR ?? ''));
    if (index > 0) await until('the lock', () => existsSync(join(folder, 'data', 'gateway.lock')));
    await sleep(index * 150);
    const exited = once(child, 'exit');
    child.kill(signal);
    const [code] = (await exited) as [number | null];
    t.ok(code === 0 || code === null, `${signal}: ${code}`);
  }
  const gateway = await start(t, folder, settings);
  t.match(await gateway.cli(['health']), { code: 0, stdout: 'ok\n' });
  t.equal(await gateway.stop(), 0);
});

t.test('what is odd is told at the start', async (t) => {
  const folder = await temporaryFolder(t);
  const gateway = await start(t, folder, {
    GATEWAY_HTTP_HOST: '0.0.0.0',
    GATEWAY_HTTP_INSECURE: '1',
    GATEWAY_SHH_PORT: '1',
    GATEWAY_PORT_RANGE: '59000-59999',
  });
  for (const code of ['gateway.http-plain', 'config.unknown-variable', 'gateway.range-ephemeral']) {
    t.match(gateway.log(), `"code":"${code}"`);
  }
  t.equal(await gateway.stop('SIGINT'), 0);
});
