import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { MeetingClient, type MeetingOptions } from '../../../src/meeting/client.ts';
import { systemClock } from '../../../src/support/clock.ts';
import { temporaryFolder } from '../../device/support.ts';
import { makeCertificate } from '../../support/certificates.ts';
import { freshKeyLine } from '../../support/public-keys.ts';
import { requires } from '../../support/requires.ts';
import { testLog } from '../../support/test-log.ts';
import { until } from '../../support/until.ts';
import { type Api, HOST_KEY, KEY, startApi, TOKEN_CODE } from './support.ts';

/** The device's own client, against our gateway. */
function client(t: Test, api: Api, settings: Partial<MeetingOptions> = {}): MeetingClient {
  const made = new MeetingClient({
    url: `http://127.0.0.1:${api.port}`,
    deviceKey: KEY,
    token: TOKEN_CODE,
    ca: null,
    heartbeatMs: 60_000,
    publicKeyFile: null,
    knownHostsFile: null,
    proxy: null,
    maintenance: null,
    clock: systemClock,
    random: () => 0.5,
    log: testLog().log,
    ...settings,
  });
  t.teardown(() => made.stop());
  made.start();
  return made;
}

t.test('the device is online, knows its services, and publishes and keeps keys', async (t) => {
  const api = await startApi(t, { publicHost: '127.0.0.1' });
  await api.addDevice();
  const folder = temporaryFolder(t);
  const line = freshKeyLine();
  const files = { key: join(folder, 'key.pub'), hosts: join(folder, 'ssh', 'known_hosts') };
  mkdirSync(join(folder, 'ssh'), { mode: 0o700 });
  writeFileSync(files.key, `${line}\n`);
  const device = client(t, api, { publicKeyFile: files.key, knownHostsFile: files.hosts });
  const status = await until('all calls to be made', () => {
    const now = device.status();
    return now.knownHosts === 'done' && now.sshKeyPublished === 'done' && now.availability !== null && now;
  });
  t.match(status, {
    ...{ state: 'online', authorized: true, services: { ssh: true, http: true }, availability: 'available' },
    ...{ lastHeartbeat: { ipAddress: '127.0.0.1', lastSeen: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/ }, lastFailure: null },
  });
  t.equal((await api.call(`GET /api/devices/${KEY}`)).body.pubkey, line);
  t.equal(readFileSync(files.hosts, 'utf8'), `[127.0.0.1]:2222 ${HOST_KEY}\n`);
});

t.test('what is wrong has its right name on the device', async (t) => {
  const api = await startApi(t);
  await api.addDevice();
  const failureOf = async (settings: Partial<MeetingOptions>) => {
    const device = client(t, api, settings);
    const failure = await until('a failure', () => device.status().lastFailure);
    await device.stop();
    return failure.code;
  };
  t.equal(await failureOf({ deviceKey: 'unknown' }), 'meeting.not-provisioned');
  t.equal(await failureOf({ token: 'wrong-wrong' }), 'meeting.token-refused');
  const maintenance = { files: [join(temporaryFolder(t), 'authorized_keys')], pairingFile: '/nowhere/keys' };
  t.equal(await failureOf({ maintenance }), 'meeting.api-answer', 'this gateway has no key of its own');
  await api.call(`PUT /api/devices/${KEY}/authorize`, { body: { authorized: false } });
  t.equal(await failureOf({}), 'meeting.not-authorized');
});

t.test('over TLS, with the certificate as its own authority', { ...requires('openssl') }, async (t) => {
  const folder = temporaryFolder(t);
  const certificate = makeCertificate(folder, 'localhost');
  const api = await startApi(t, { certificate: { current: certificate, onChange: () => () => undefined } });
  await api.addDevice();
  const url = `https://localhost:${api.port}/api`;
  const device = client(t, api, { url, ca: certificate.path });
  await until('the heartbeat', () => device.status().state === 'online');
  const stranger = client(t, api, { url });
  t.equal((await until('a failure', () => stranger.status().lastFailure)).code, 'meeting.api-tls');
});
