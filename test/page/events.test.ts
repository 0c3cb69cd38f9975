import { once } from 'node:events';
import { createServer, get, type IncomingMessage } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import t, { type Test } from 'tap';
import { EventHub, MAX_LISTENERS } from '../../src/page/events.ts';
import type { PageStatus } from '../../src/page/page.ts';
import { viewOf } from '../../src/page/view.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { testLog } from '../support/test-log.ts';
import { until } from '../support/until.ts';
import { CONNECTED, COUNTING, statusWith } from './support.ts';

/** The same status when nothing has happened but that time has passed. */
function aged({ uptimeSeconds, monitor, tunnel, pairing, ...rest }: PageStatus, seconds: number): PageStatus {
  const left = pairing.opensInSeconds === null ? null : pairing.opensInSeconds - seconds;
  return {
    ...rest,
    uptimeSeconds: uptimeSeconds + seconds,
    monitor: monitor && { ...monitor, sinceConnectedSeconds: monitor.sinceConnectedSeconds + seconds },
    tunnel: tunnel && { ...tunnel, inStateMs: tunnel.inStateMs + seconds * 1_000 },
    pairing: { ...pairing, opensInSeconds: left },
  };
}

/** A hub on a real server; only time, and what there is to see, are the test's. */
async function startHub(t: Test) {
  const clock = new FakeClock();
  const startMs = clock.nowMs();
  const { log, has } = testLog();
  const device: { status: PageStatus | Error; looks: number } = { status: CONNECTED, looks: 0 };
  const hub = new EventHub({
    look: async () => {
      device.looks += 1;
      if (device.status instanceof Error) throw device.status;
      return viewOf(aged(device.status, (clock.nowMs() - startMs) / 1_000));
    },
    render: ({ headline }) => headline.words[0],
    clock,
    log,
  });
  const server = createServer((_req, res) => {
    if (!hub.add(res)) res.writeHead(503).end();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  t.teardown(() => {
    hub.stop();
    server.closeAllConnections();
    server.close();
  });

  const listen = async () => {
    const request = get({ port, host: '127.0.0.1', agent: false });
    request.on('error', () => undefined);
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    let text = '';
    response.on('error', () => undefined).setEncoding('utf8');
    response.on('data', (chunk: string) => {
      text += chunk;
    });
    return {
      status: response.statusCode,
      leave: () => request.destroy(),
      ended: () => response.complete,
      text: () => text,
      has: (part: string | RegExp) => until(`the event ${part}`, () => text.match(part) !== null),
    };
  };
  /** One look later; every look has been answered. */
  const second = async () => {
    await until('the timer', () => clock.pending > 0);
    clock.advance(1_000);
    await until('the next timer', () => clock.pending > 0);
  };
  return { port, clock, device, hub, listen, second, has };
}

t.test('who begins to listen is told the state at once, and later what changes', async (t) => {
  const { device, listen, second } = await startHub(t);
  const phone = await listen();
  await phone.has('data: Paired and connected\n\n');
  device.status = statusWith(COUNTING);
  await second();
  await phone.has('data: Paired, waiting for Home Assistant\n\n');
  const told = phone.text();
  for (let passed = 0; passed < 10; passed += 1) await second();
  t.equal(phone.text(), told, 'nothing is sent while only time passes');
});

t.test('nobody listens: no timer, and nobody looks', async (t) => {
  const { clock, device, listen } = await startHub(t);
  t.equal(clock.pending, 0);
  const [one, two] = [await listen(), await listen()];
  await Promise.all([one.has('data'), two.has('data')]);
  await until('the timer', () => clock.pending === 1);
  one.leave();
  two.leave();
  await until('the end of the timer', () => clock.pending === 0);
  const { looks } = device;
  clock.advance(60_000);
  t.equal(device.looks, looks);
});

t.test('several listeners cost one look', async (t) => {
  const { device, listen, second } = await startHub(t);
  const all = await Promise.all([listen(), listen(), listen()]);
  await Promise.all(all.map((each) => each.has('data')));
  const { looks } = device;
  await second();
  t.equal(device.looks, looks + 1);
});

t.test('silence is broken by a beat', async (t) => {
  const { listen, second } = await startHub(t);
  const phone = await listen();
  await phone.has('data: Paired');
  for (let passed = 0; passed < 14; passed += 1) await second();
  t.notMatch(phone.text(), /event: beat/);
  await second();
  await phone.has('event: beat\ndata:\n\n');
});

t.test(`more than ${MAX_LISTENERS} are turned away, until one leaves`, async (t) => {
  const { listen } = await startHub(t);
  const all = await Promise.all(Array.from({ length: MAX_LISTENERS }, listen));
  t.ok(all.every(({ status }) => status === 200));
  t.equal((await listen()).status, 503);
  all[0]?.leave();
  await until('room', async () => (await listen()).status === 200);
});

t.test('requests that wait behind another one on its connection take no room', async (t) => {
  const { port, clock, listen } = await startHub(t);
  const stranger = connect(port, '127.0.0.1');
  stranger.on('error', () => undefined).write('GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(MAX_LISTENERS));
  await once(stranger, 'data');
  const phones = await Promise.all(Array.from({ length: MAX_LISTENERS - 1 }, listen));
  t.ok(phones.every(({ status }) => status === 200));
  for (const { leave } of phones) leave();
  stranger.destroy();
  await until('the end of the timer', () => clock.pending === 0);
});

t.test('a listener is asked to come back after ten minutes: it may be a phone that is long gone', async (t) => {
  const { clock, listen, second } = await startHub(t);
  const phone = await listen();
  await phone.has('data: Paired');
  await until('the timer', () => clock.pending > 0);
  clock.advance(598_000);
  await second();
  t.equal(phone.ended(), false);
  clock.advance(1_000);
  await until('the end', phone.ended);
  await until('the end of the timer', () => clock.pending === 0);
});

t.test('a stop ends every stream, and takes nobody any more', async (t) => {
  const { clock, hub, listen } = await startHub(t);
  const [one, two] = [await listen(), await listen()];
  await Promise.all([one.has('data'), two.has('data')]);
  hub.stop();
  await until('the end', () => one.ended() && two.ended());
  t.equal(clock.pending, 0);
  t.equal((await listen()).status, 503);
});

t.test('a look that fails is told to the log, and the next one counts', async (t) => {
  const { device, listen, second, has } = await startHub(t);
  const phone = await listen();
  await phone.has('data: Paired');
  device.status = new Error('no status');
  await second();
  t.ok(has(/the state could not be sent to the status page/));
  device.status = statusWith(COUNTING);
  await second();
  await phone.has('data: Paired, waiting');
});
