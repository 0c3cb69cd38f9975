import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { device, end, statusOf, temporaryFolder, untilStatus } from '../device/support.ts';
import { makeCertificate } from '../support/certificates.ts';
import {
  API_TOKEN,
  DEVICE_KEY,
  json,
  type MeetingServer,
  ONLINE,
  startMeetingServer,
  text,
} from '../support/meeting-api.ts';
import { freePort } from '../support/processes.ts';
import { freshKeyLine } from '../support/public-keys.ts';
import { requires } from '../support/requires.ts';
import { tunnelAgent } from '../support/service.ts';
import { until } from '../support/until.ts';

const identity = (api: Pick<MeetingServer, 'url'>) => ({
  MEETING_API_URL: api.url,
  MEETING_DEVICE_KEY: DEVICE_KEY,
  MEETING_TOKEN: API_TOKEN,
  MEETING_HEARTBEAT_INTERVAL: '0.2',
  ZEROFORCE_TRANSPORT: 'none',
  LOG_LEVEL: 'trace',
});

t.test(
  'the service reports to a Meeting API over https, and keeps its files',
  requires('openssl', 'ssh-keygen'),
  async (t) => {
    const folder = temporaryFolder(t);
    const tls = makeCertificate(folder, 'localhost');
    const api = await startMeetingServer({ tls, name: 'localhost', prefix: '/meeting' });
    t.teardown(() => api.close());
    const [own, serverKey, hostKey] = [freshKeyLine('device'), freshKeyLine(), freshKeyLine('root@meeting')];
    Object.assign(api.state, { serverKey, hostKeys: `localhost ${hostKey}\n` });
    const [publicKey, maintenance, knownHosts] = [
      join(folder, 'id.pub'),
      join(folder, 'pi', 'keys'),
      join(folder, 'pi', 'known'),
    ];
    mkdirSync(join(folder, 'pi'), { mode: 0o700 });
    writeFileSync(publicKey, `${own}\n`);
    const service = await device(
      t,
      {
        ...identity(api),
        MEETING_API_CA: tls.path,
        MEETING_PUBLIC_KEY_FILE: publicKey,
        MEETING_KNOWN_HOSTS_FILE: knownHosts,
        MEETING_MAINTENANCE_KEYS_FILES: maintenance,
      },
      { folder },
    );
    const status = await untilStatus(service, ({ meetingApi }) => meetingApi?.maintenanceKey === 'done');
    t.match(status, {
      meetingApi: {
        url: api.url,
        state: 'online',
        lastHeartbeat: { ipAddress: '203.0.113.7' },
        authorized: true,
        services: { ssh: true, http: true },
        availability: 'available',
        sshKeyPublished: 'done',
        knownHosts: 'done',
        lastFailure: null,
      },
      faults: [],
      notices: [],
    });
    t.equal(api.state.publishedKey, own);
    t.match(readFileSync(maintenance, 'utf8'), serverKey.split(' ')[1]);
    const found = execFileSync('ssh-keygen', ['-F', 'localhost', '-f', knownHosts], { encoding: 'utf8' });
    t.match(found, hostKey.split(' ')[1]);
    await until('more heartbeats', () => api.seen.filter(({ path }) => path.endsWith('/online')).length > 3);
    t.strictSame(api.complaints, []);

    const shown = await tunnelAgent(['status'], service.settings);
    t.match(
      shown.stdout,
      /^ {2}meeting {2}online at https:.*; authorized; listed as available; services there: ssh, http/m,
    );
    t.match(shown.stdout, /SSH key published; known_hosts up to date; maintenance key in place$/m);
    const json = await tunnelAgent(['status', '--json'], service.settings);
    const config = await tunnelAgent(['config', 'show'], service.settings);
    await end(service, 'SIGTERM');
    for (const output of [shown.stdout, json.stdout, config.stdout, service.log()]) t.notMatch(output, API_TOKEN);
    t.ok(
      api.seen.every(({ path, body }) => !`${path}${body}`.includes(API_TOKEN)),
      'nor in a URL or a body',
    );
  },
);

t.test('a broken, hanging or absent API changes nothing else: pairing works, and the stop is quick', async (t) => {
  const port = await freePort();
  const service = await device(t, identity({ url: `http://127.0.0.1:${port}` }));
  t.equal(await service.get('/zeroforce/readytopair'), 'true');
  const failing = (code: string) =>
    untilStatus(service, ({ meetingApi, faults }) => {
      return meetingApi?.state === 'failing' && faults.some((fault) => fault.code === code);
    });
  t.match(await failing('meeting.api-unreachable'), { meetingApi: { lastHeartbeat: null } });

  const api = await startMeetingServer({ port });
  t.teardown(() => api.close());
  await untilStatus(service, ({ meetingApi }) => meetingApi?.state === 'online');
  api.answers.set('*', text(500, `<h1>${API_TOKEN}</h1>`, 'text/html'));
  await failing('meeting.api-error');
  api.answers.set('*', json(200, null));
  await untilStatus(service, ({ meetingApi }) => /not an object/.test(meetingApi?.lastFailure?.sentence ?? ''));
  t.equal(await service.get('/healthz').then((body) => body !== ''), true);

  api.answers.set('*', () => {});
  await api.next(ONLINE);
  const before = performance.now();
  await end(service, 'SIGTERM');
  t.ok(performance.now() - before < 5_000, 'a call that hangs does not delay the stop');
  t.notMatch(service.log(), API_TOKEN);
});

t.test('without an address of an API there is no client', async (t) => {
  const service = await device(t, {});
  t.equal((await statusOf(service)).meetingApi, null);
  t.notMatch((await tunnelAgent(['status'], service.settings)).stdout, /meeting/);
});

t.test('the maintenance file is the file of the paired key by another name: refused while running', async (t) => {
  const folder = temporaryFolder(t);
  const api = await startMeetingServer();
  t.teardown(() => api.close());
  api.state.serverKey = freshKeyLine();
  mkdirSync(join(folder, 'ssh'), { mode: 0o700 });
  const settings = { ...identity(api), MEETING_MAINTENANCE_KEYS_FILES: `${folder}/ssh/../ssh/authorized_keys` };
  const service = await device(t, settings, { folder });
  const status = await untilStatus(service, ({ meetingApi }) => meetingApi?.maintenanceKey === 'failed');
  t.match(
    status.faults.filter(({ code }) => code === 'meeting.maintenance-file'),
    [{ sentence: /pairing would erase the maintenance keys/, remedy: /MEETING_MAINTENANCE_KEYS_FILES/ }],
  );
  t.equal(status.pairing.key, null);
  await end(service, 'SIGTERM');
});
