import t, { type Test } from 'tap';
import { createTools, readSettings } from '../../src/device/diagnosis-tools.ts';
import { meaningOf } from '../../src/diagnose/api/answer.ts';
import { apiAuthorized } from '../../src/diagnose/checks/api-authorized.ts';
import { apiAvailability } from '../../src/diagnose/checks/api-availability.ts';
import { apiDevice } from '../../src/diagnose/checks/api-device.ts';
import { apiReachable } from '../../src/diagnose/checks/api-reachable.ts';
import { apiServices } from '../../src/diagnose/checks/api-services.ts';
import { DEFAULT_OPTIONS } from '../../src/diagnose/facts.ts';
import type { Report } from '../../src/diagnose/report.ts';
import { runChecks } from '../../src/diagnose/runner.ts';
import type { ServiceStatus } from '../../src/diagnose/tools.ts';
import { systemClock } from '../../src/support/clock.ts';
import { Failure } from '../../src/support/failures.ts';
import { API_TOKEN, BASE, DEVICE_KEY, json, startMeetingServer, text } from '../support/meeting-api.ts';
import { testLog } from '../support/test-log.ts';

const CHECKS = [apiReachable, apiDevice, apiAuthorized, apiServices, apiAvailability];

type MeetingStatus = NonNullable<ServiceStatus['meetingApi']>;

/** The checks alone, by the production client; the service says `status`, or does not run. */
async function diagnose(url: string | null, { meetingApi, network = true, ...env }: Scene = {}): Promise<Report> {
  const settings = await readSettings({
    env: {
      MEETING_DEVICE_KEY: DEVICE_KEY,
      MEETING_TOKEN: API_TOKEN,
      MEETING_PROXY_HOST: '127.0.0.1',
      ...env,
      ...(url && { MEETING_API_URL: url }),
    },
    configFile: '/proc/self/none',
    deployedFiles: { meeting: [], deviceInfo: '/proc/self/none' },
  });
  const service = async () => {
    if (meetingApi === undefined) throw new Failure('service.not-running', 'no service runs');
    if (meetingApi instanceof Failure) throw meetingApi;
    return { version: '1.0.0', pid: 1, pairing: {}, meetingApi } as ServiceStatus;
  };
  const tools = createTools(settings.config, { service, clock: systemClock, log: testLog().log });
  return runChecks({
    checks: CHECKS,
    subject: { version: '1.0.0', settings, options: { ...DEFAULT_OPTIONS, network }, tools, clock: systemClock },
    device: DEVICE_KEY,
    startedAt: '',
    signal: new AbortController().signal,
  });
}

interface Scene {
  meetingApi?: MeetingStatus | Failure | null;
  network?: boolean;
  ZEROFORCE_SERVICES?: string;
}

const stateOf = ({ checks }: Report) => Object.fromEntries(checks.map(({ id, status }) => [id, status]));
const summaryOf = ({ checks }: Report, id: string) => checks.find((check) => check.id === id)?.summary ?? '';

async function server(t: Test) {
  const api = await startMeetingServer();
  t.teardown(() => api.close());
  return api;
}

t.test('a healthy device, in whatever shape the server says it', async (t) => {
  const api = await server(t);
  const shapes: unknown[] = [
    ...[null, undefined, ['ssh'], ['SSH', 'scp', 'debug'], { ssh: true, http: false }, { ssh: 1 }],
    ...[[{ name: 'ssh' }], [{ type: 'ssh', enabled: 1 }], ['http', { name: 'ssh', enabled: true }]],
  ];
  for (const services of shapes) {
    for (const authorized of [1, true]) {
      Object.assign(api.state, { services, authorized });
      t.equal((await diagnose(api.url)).ok, true, JSON.stringify({ services, authorized }));
    }
  }
  t.strictSame(api.complaints, []);
});

t.test('each thing that the server says against the device is told by its own check', async (t) => {
  const api = await server(t);
  for (const authorized of [0, false]) {
    Object.assign(api.state, { authorized });
    t.equal((await diagnose(api.url)).cause, 'api.authorized');
  }
  api.state.authorized = true;
  for (const services of [[], {}, ['http', 'scp'], { ssh: 0 }, [{ name: 'ssh', enabled: false }]]) {
    Object.assign(api.state, { services });
    const report = await diagnose(api.url);
    t.equal(report.cause, 'api.services', JSON.stringify(services));
    t.equal(report.checks.filter(({ status }) => status === 'fail').length, 1);
  }
});

t.test(
  'what is enabled at the server and not here is noted, and ssh that is enabled nowhere is no fault',
  async (t) => {
    const api = await server(t);
    api.state.services = ['ssh', 'scp', 'debug', 'relay', 'vnc', 'printer'];
    const report = await diagnose(api.url, { ZEROFORCE_SERVICES: 'ssh=22,http=5000' });
    t.equal(report.ok, true);
    t.match(summaryOf(report, 'api.services'), /ssh is enabled there; not offered by this device: vnc, printer$/);
    api.state.services = ['http'];
    t.equal((await diagnose(api.url, { ZEROFORCE_SERVICES: 'http=5000' })).ok, true);
  },
);

t.test('a server may call its services what it likes', async (t) => {
  const api = await server(t);
  api.state.services = { ssh: true, [API_TOKEN]: true, 'x-1': true };
  const report = await diagnose(api.url);
  t.match(summaryOf(report, 'api.services'), /\[secret\], x-1/);
  t.notMatch(JSON.stringify(report), new RegExp(API_TOKEN, 'i'));
});

t.test('without an address of the API nothing is looked at, and with --no-network neither', async (t) => {
  t.strictSame(new Set(Object.values(stateOf(await diagnose(null)))), new Set(['skip']));
  const api = await server(t);
  t.strictSame(new Set(Object.values(stateOf(await diagnose(api.url, { network: false })))), new Set(['skip']));
  t.strictSame(api.seen, []);
});

t.test('the service and the list of the server', async (t) => {
  const api = await server(t);
  api.state.availability = 'Disconnected';
  const past = { code: 'meeting.api-error', sentence: 'status 500', remedy: '', agoMs: 1000 } as const;
  const usual: MeetingStatus = {
    url: api.url,
    state: 'online',
    nextHeartbeatInMs: 20_000,
    lastHeartbeat: { agoMs: 40_000 },
    lastFailure: null,
  };
  const cases: [string, Scene['meetingApi'] | undefined, string, RegExp][] = [
    ['no service', undefined, 'ok', /no service runs/],
    ['one that has just started', { ...usual, state: 'starting', lastHeartbeat: null }, 'ok', /under way/],
    ['a heartbeat of this moment', { ...usual, lastHeartbeat: { agoMs: 100 } }, 'ok', /answered 0 s ago/],
    ['heartbeats that do not count', usual, 'fail', /answers the heartbeats.* 40 s ago/],
    ['too seldom', { ...usual, lastHeartbeat: { agoMs: 500_000 } }, 'fail', /too seldom, the last time 500 s ago/],
    ['refused heartbeats', { ...usual, state: 'failing', lastFailure: past }, 'fail', /does not take.*status 500/],
    [
      'an outage that is over',
      { ...usual, state: 'failing', lastFailure: { ...past, code: 'meeting.api-unreachable' } },
      'warn',
      /the next one follows/,
    ],
    ['a service without the API', null, 'warn', /sends its heartbeats nowhere/],
    ['a service with another address', { ...usual, url: 'http://old.test' }, 'warn', /to http:\/\/old.test/],
  ];
  for (const [name, meetingApi, status, summary] of cases) {
    const report = await diagnose(api.url, meetingApi === undefined ? {} : { meetingApi });
    t.equal(stateOf(report)['api.availability'], status, name);
    t.match(summaryOf(report, 'api.availability'), summary, name);
  }
  api.answers.set(`GET ${BASE}/availability`, text(404, 'Not Found'));
  t.equal(stateOf(await diagnose(api.url))['api.availability'], 'warn', 'a server that does not tell it');
});

t.test('a service that may not be asked leaves it unknown', async (t) => {
  const api = await server(t);
  api.state.availability = 'Disconnected';
  const report = await diagnose(api.url, { meetingApi: new Failure('service.not-permitted', 'not allowed') });
  t.equal(stateOf(report)['api.availability'], 'unknown');
  t.match(summaryOf(report, 'api.availability'), /not allowed/);
});

t.test('a failure that nobody has thought of is unknown, never silent', async (t) => {
  t.equal(meaningOf(new Failure('internal.unexpected', 'what?')), null);
  t.match(meaningOf(new Failure('meeting.api-unreachable', 'no way')), { check: 'api.reachable', finding: 'noWay' });
  const api = await server(t);
  api.answers.set(`GET ${BASE}`, json(418, { error: 'a teapot' }));
  const report = await diagnose(api.url);
  t.equal(report.cause, 'api.reachable');
  t.match(summaryOf(report, 'api.reachable'), /status 418; it says: a teapot/);
});
