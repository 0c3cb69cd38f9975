import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { MeetingClient, type MeetingOptions } from '../../src/meeting/client.ts';
import { temporaryFolder } from '../device/support.ts';
import { FakeClock } from '../support/fake-clock.ts';
import {
  type Answer,
  API_TOKEN,
  BASE,
  DEVICE_KEY,
  json,
  type MeetingServer,
  ONLINE,
  startMeetingServer,
  text,
} from '../support/meeting-api.ts';
import { freshKeyLine } from '../support/public-keys.ts';
import { testLog } from '../support/test-log.ts';
import { until } from '../support/until.ts';

const MINUTE = 60_000;
const two = (line: string) => line.split(' ').slice(0, 2).join(' ');

/** Tells the one timer of a client at rest from the deadline of a call. */
class CallClock extends FakeClock {
  readonly #deadlines = new Set<symbol>();

  override after(delayMs: number, fn: () => void): () => void {
    if (delayMs !== 10_000) return super.after(delayMs, fn);
    const deadline = Symbol('deadline');
    this.#deadlines.add(deadline);
    const cancel = super.after(delayMs, fn);
    return () => {
      this.#deadlines.delete(deadline);
      cancel();
    };
  }

  get atRest(): boolean {
    return this.pending === 1 && this.#deadlines.size === 0;
  }
}

interface Bench {
  api: MeetingServer;
  clock: FakeClock;
  client: MeetingClient;
  log: ReturnType<typeof testLog>;
  calls(): string[];
  /** Moves the time, in steps that no wait of the client is shorter than, and lets the calls happen. */
  pass(ms: number): Promise<void>;
}

async function bench(
  t: Test,
  settings: Partial<MeetingOptions> = {},
  prepare: (api: MeetingServer) => void = () => {},
) {
  const api = await startMeetingServer();
  prepare(api);
  const [clock, log] = [new CallClock(), testLog()];
  const client = new MeetingClient({
    url: api.url,
    deviceKey: DEVICE_KEY,
    token: API_TOKEN,
    ca: null,
    heartbeatMs: MINUTE,
    publicKeyFile: null,
    knownHostsFile: null,
    proxy: null,
    maintenance: null,
    clock,
    random: () => 0.5,
    log: log.log,
    ...settings,
  });
  t.teardown(async () => {
    await client.stop();
    await api.close();
  });
  const rest = () => until('the client to rest', () => clock.atRest);
  client.start();
  await rest();
  const bench: Bench = {
    api,
    clock,
    client,
    log,
    calls: () => api.seen.splice(0).map(({ method, path }) => `${method} ${path.replace(BASE, '')}`),
    async pass(ms) {
      const endMs = clock.nowMs() + ms;
      while (clock.nowMs() < endMs) {
        clock.advance(Math.min(endMs - clock.nowMs(), client.status().nextHeartbeatInMs ?? ms));
        await rest();
      }
    },
  };
  benches.push(bench);
  return bench;
}

const benches: Bench[] = [];

/** A test, after which everything that it used ends cleanly and has kept the token to itself. */
function scene(name: string, play: (t: Test) => Promise<void>): void {
  t.test(name, async (t) => {
    await play(t);
    for (const { client, clock, api, log } of benches.splice(0)) {
      await client.stop();
      t.equal(clock.pending, 0, 'no timer is left');
      t.strictSame(api.complaints, []);
      t.notMatch(JSON.stringify([log.lines, client.status()]), new RegExp(API_TOKEN, 'i'), 'the token is nowhere');
    }
  });
}

scene('a heartbeat every minute, what the server knows of us every ten', async (t) => {
  const { calls, client, pass, clock } = await bench(t);
  t.strictSame(calls(), ['POST /online', 'GET ', 'GET /availability']);
  t.match(client.status(), {
    state: 'online',
    lastHeartbeat: { agoMs: 0, ipAddress: '203.0.113.7', lastSeen: '2026-11-21T14:02:03Z' },
    nextHeartbeatInMs: MINUTE,
    authorized: true,
    services: { ssh: true, http: true },
    availability: 'available',
    sshKeyPublished: null,
    knownHosts: null,
    maintenanceKey: null,
    lastFailure: null,
  });
  await pass(9 * MINUTE);
  t.strictSame(calls(), Array(9).fill('POST /online'));
  clock.advance(30_000);
  t.match(client.status(), { lastHeartbeat: { agoMs: 30_000 }, nextHeartbeatInMs: 30_000 });
  await pass(30_000);
  t.strictSame(calls(), ['POST /online', 'GET ', 'GET /availability']);
  t.strictSame(client.failures(), []);
});

scene('a heartbeat of this machine to itself tells nothing of its network', async (t) => {
  const { api } = await bench(t);
  t.equal(api.seen[0]?.body, '{}');
});

scene('nothing else is asked while the heartbeat fails; it is told once, and when it works again', async (t) => {
  const { api, calls, client, pass, log } = await bench(t);
  calls();
  let count = 0;
  api.answers.set(ONLINE, (response, seen) => {
    count += 1;
    json(500, { error: `request ${count} failed` })(response, seen);
  });
  await pass(20 * MINUTE);
  t.ok(calls().every((call) => call === 'POST /online'));
  t.ok(count >= 10 && count < 25, `${count} attempts`);
  t.match(client.status(), {
    state: 'failing',
    lastFailure: { code: 'meeting.api-error', sentence: /status 500; it says: request/, remedy: /operator/ },
    lastHeartbeat: { ipAddress: '203.0.113.7' },
  });
  t.strictSame(
    client.failures().map(({ code }) => code),
    ['meeting.api-error'],
  );
  t.equal(log.lines.filter(({ level }) => level === 'warn').length, 1, 'one line');
  await pass(60 * MINUTE);
  const warnings = log.lines.filter(({ level }) => level === 'warn');
  t.equal(warnings.length, 2, 'a reminder after an hour');
  t.ok(Number(warnings[1]?.repeated) > 20);

  api.answers.clear();
  await pass(2 * MINUTE);
  t.match(client.status(), { state: 'online', lastFailure: { code: 'meeting.api-error' } });
  t.strictSame(client.failures(), []);
  t.ok(log.has(/heartbeat: works again/));
  api.answers.set(ONLINE, json(500, {}));
  await pass(2 * MINUTE);
  t.equal(log.lines.filter(({ level }) => level === 'warn').length, 3, 'after that, the same trouble is news');
});

scene('a device that is not provisioned, or whose token is refused, asks again after minutes', async (t) => {
  for (const [change, code] of [
    [{ provisioned: false }, 'meeting.not-provisioned'],
    [{ token: 'another' }, 'meeting.token-refused'],
  ] as const) {
    const { api, calls, client, pass, log } = await bench(t, {}, ({ state }) => void Object.assign(state, change));
    t.match(client.status(), { state: 'failing', lastHeartbeat: null, authorized: null, lastFailure: { code } });
    t.match(log.lines, [{ level: 'warn', code, nextAttemptInMs: 3 * MINUTE }]);
    calls();
    await pass(60 * MINUTE);
    const count = calls().length;
    t.ok(count >= 6 && count <= 10, `${count} attempts in an hour`);
    Object.assign(api.state, { provisioned: true, token: API_TOKEN });
    await pass(10 * MINUTE);
    t.equal(client.status().state, 'online');
  }
});

scene('a device that is not authorized says so, goes on, and notices when it is', async (t) => {
  const { api, client, pass, calls, log } = await bench(t, {}, ({ state }) => {
    state.authorized = 0;
  });
  t.match(client.status(), { state: 'online', authorized: false, lastFailure: { code: 'meeting.not-authorized' } });
  t.match(client.failures(), [{ code: 'meeting.not-authorized' }]);
  api.state.authorized = 1;
  await pass(10 * MINUTE);
  t.equal(calls().filter((call) => call === 'POST /online').length, 11, 'heartbeats come as always');
  t.match(client.status(), { authorized: true });
  t.strictSame(client.failures(), []);
  t.ok(log.has(/device: works again/));
});

scene('a service with the name of the token is not shown', async (t) => {
  const { client } = await bench(t, {}, ({ state }) => {
    state.services = { ssh: true, [API_TOKEN]: false };
  });
  t.strictSame(client.status().services, { ssh: true, '[secret]': false });
});

scene('one call that fails keeps none of the others from happening', async (t) => {
  const { client, calls, pass, api } = await bench(t, {}, ({ answers }) => {
    answers.set(`GET ${BASE}`, text(200, '<html>', 'text/html'));
  });
  t.match(client.status(), { state: 'online', authorized: null, availability: 'available' });
  t.strictSame(calls(), ['POST /online', 'GET ', 'GET /availability']);
  await pass(MINUTE);
  t.strictSame(calls(), ['POST /online', 'GET '], 'it comes with the next heartbeat');
  api.answers.clear();
  await pass(MINUTE);
  t.match(client.status(), { authorized: true });
});

scene('a server that hangs in the middle of a round is not asked for the rest of it', async (t) => {
  const { client, api, clock, calls, pass } = await bench(t);
  api.answers.set(`GET ${BASE}`, () => {});
  await pass(9 * MINUTE);
  calls();
  const asked = api.next(`GET ${BASE}`);
  clock.advance(MINUTE);
  await asked;
  clock.advance(10_000);
  await until('the deadline', () => client.failures()[0]?.code === 'meeting.api-timeout');
  t.strictSame(calls(), ['POST /online', 'GET ']);
});

scene('the SSH key is published at the start, and again when the file has changed', async (t) => {
  const file = join(temporaryFolder(t), 'id.pub');
  const [first, second] = [freshKeyLine('device'), freshKeyLine('device')];
  writeFileSync(file, `${first}\n`);
  const { api, client, pass, calls, log } = await bench(t, { publicKeyFile: file });
  t.equal(api.state.publishedKey, first);
  t.equal(client.status().sshKeyPublished, 'done');
  calls();
  await pass(30 * MINUTE);
  t.notOk(calls().includes('PUT /ssh-key'), 'once is enough');
  writeFileSync(file, second);
  await pass(10 * MINUTE);
  t.equal(api.state.publishedKey, second);

  api.state.refuseKey = true;
  writeFileSync(file, first);
  await pass(10 * MINUTE);
  t.match(client.failures(), [{ code: 'meeting.key-refused', message: /bad key/ }]);
  t.equal(client.status().sshKeyPublished, 'failed');
  api.state.refuseKey = false;
  await pass(10 * MINUTE);
  t.equal(api.state.publishedKey, first);

  calls();
  writeFileSync(file, '-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----\n');
  await pass(10 * MINUTE);
  t.match(client.failures(), [{ code: 'meeting.public-key-file', message: /PRIVATE/ }]);
  t.notOk(calls().includes('PUT /ssh-key'), 'a private key is never sent');
  t.notMatch(JSON.stringify(log.lines), /c2VjcmV0/);
});

scene(
  'known_hosts follows the server, for its own hosts and those of the proxy, and is not written in vain',
  async (t) => {
    const file = join(temporaryFolder(t), 'known_hosts');
    const [one, two_, foreign] = [two(freshKeyLine()), two(freshKeyLine()), two(freshKeyLine())];
    writeFileSync(file, `# mine\ngithub.com ${foreign}\n`, { mode: 0o640 });
    const settings = { knownHostsFile: file, proxy: { host: 'Proxy.example', port: 9001 } };
    const { api, client, pass } = await bench(t, settings, ({ state }) => {
      state.hostKeys = `127.0.0.1 ${one}\n[proxy.example]:2222 ${one}\ngithub.com ${one}\n`;
    });
    const expected = (key: string) => `# mine\ngithub.com ${foreign}\n127.0.0.1 ${key}\n[proxy.example]:2222 ${key}\n`;
    t.equal(readFileSync(file, 'utf8'), expected(one));
    t.equal(statSync(file).mode & 0o777, 0o640);
    t.equal(client.status().knownHosts, 'done');
    const { ino } = statSync(file);
    await pass(20 * MINUTE);
    t.equal(statSync(file).ino, ino, 'not written again');
    api.state.hostKeys = api.state.hostKeys.replaceAll(one, two_);
    await pass(10 * MINUTE);
    t.equal(readFileSync(file, 'utf8'), expected(two_));
    for (const bad of ['<html>', '', `@cert-authority * ${one}`, `github.com ${one}`]) {
      api.state.hostKeys = bad;
      await pass(10 * MINUTE);
      t.match(client.failures(), [{ code: 'meeting.api-answer' }], bad);
      t.equal(readFileSync(file, 'utf8'), expected(two_), 'the file stays');
    }
    t.match(client.status(), { state: 'online', knownHosts: 'failed' });
  },
);

scene('the key of the server goes into the maintenance files, and never into that of the pairing', async (t) => {
  const folder = temporaryFolder(t);
  const at = (name: string) => {
    mkdirSync(join(folder, name), { mode: 0o700 });
    return join(folder, name, 'authorized_keys');
  };
  const [pairingFile, pi, admin] = [at('root'), at('pi'), at('admin')];
  writeFileSync(pairingFile, 'paired\n');
  const [old, fresh] = [freshKeyLine('ignored'), freshKeyLine()];
  const maintenance = { files: [pi, pairingFile, admin], pairingFile };
  const { api, client, pass } = await bench(t, { maintenance }, ({ state }) => {
    state.serverKey = `${old}\n`;
  });
  const line = (key: string) => `${two(key)} zeroforce-meeting@127.0.0.1\n`;
  t.strictSame(
    [pi, admin].map((file) => readFileSync(file, 'utf8')),
    [line(old), line(old)],
  );
  t.equal(readFileSync(pairingFile, 'utf8'), 'paired\n');
  t.match(client.failures(), [{ code: 'meeting.maintenance-file', message: /pairing would erase/ }]);
  t.equal(client.status().maintenanceKey, 'failed');
  api.state.serverKey = fresh;
  await pass(10 * MINUTE);
  t.strictSame(
    [pi, admin].map((file) => readFileSync(file, 'utf8')),
    [line(fresh), line(fresh)],
  );
  api.state.serverKey = `command="evil" ${old}`;
  await pass(20 * MINUTE);
  t.equal(readFileSync(pi, 'utf8'), line(fresh), 'a key with options is refused');
});

scene('a stop in the middle of a call ends it', async (t) => {
  const { client, api, clock } = await bench(t);
  const hang: Answer = () => {};
  api.answers.set(ONLINE, hang);
  const asked = api.next(ONLINE);
  clock.advance(MINUTE);
  await asked;
  await client.stop();
  t.match(client.status(), { state: 'stopped', nextHeartbeatInMs: null, lastFailure: null });
});
