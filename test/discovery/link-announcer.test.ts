import { setImmediate as nextTurn } from 'node:timers/promises';
import t, { type Test } from 'tap';
import type { Identity } from '../../src/discovery/announcement.ts';
import { LinkAnnouncer } from '../../src/discovery/link-announcer.ts';
import type { Packet } from '../../src/discovery/packet.ts';
import type { openMdns, Receive, Sender } from '../../src/discovery/socket.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { testLog } from '../support/test-log.ts';

const LINK = { name: 'eth0', index: 2, ipv4: [{ address: '192.168.1.7', prefix: 24 }], ipv6: [] };
const BEAMER: Identity = { name: 'beamer', tunnelPort: 8007, httpPort: 5000, model: 'Pi' };
const OTHER: Sender = { address: '192.168.1.9', port: 5353 };
const MINUTE_MS = 60_000;

interface Sent {
  packet: Packet;
  kind: string;
  to?: Sender;
  atMs: number;
}

/** An announcer on a network that the test hears and speaks for, at the speed of the test. */
function rig(t: Test) {
  const clock = new FakeClock();
  const { log, lines } = testLog();
  const startMs = clock.nowMs();
  const sent: Sent[] = [];
  let receive: Receive = {};
  const trouble = { open: false, send: false };
  let open = 0;
  let conflicts = 0;
  const announcer = new LinkAnnouncer({
    link: LINK,
    clock,
    random: () => 0.5,
    log,
    onConflict: () => {
      conflicts += 1;
    },
    isOwnAddress: (address) => address === '192.168.1.7' || address === '10.0.0.7',
    open: (async (_link, family, receiver) => {
      if (trouble.open) throw new Error('no socket');
      receive = receiver;
      open += 1;
      return {
        family,
        async send(packet, kind, to) {
          if (trouble.send) throw Object.assign(new Error('unreachable'), { code: 'ENETUNREACH' });
          sent.push({ packet, kind, atMs: clock.nowMs() - startMs, ...(to && { to }) });
        },
        async close() {
          open -= 1;
        },
      };
    }) as typeof openMdns,
  });
  const advance = async (ms: number, stepMs = 10) => {
    for (let passed = 0; passed < ms; passed += stepMs) {
      clock.advance(stepMs);
      for (let turn = 0; turn < 6; turn += 1) await nextTurn();
    }
  };
  t.teardown(() => announcer.stop({ goodbye: false }));
  return {
    ...{ announcer, clock, sent, trouble, advance, lines },
    query: (packet: Packet, from = OTHER) => receive.onQuery?.(packet, from),
    response: (packet: Packet, from = OTHER) => receive.onResponse?.(packet, from),
    openSockets: () => open,
    conflicts: () => conflicts,
    /** What was sent since the last call. */
    take: () => sent.splice(0),
  };
}

/** The same, once the name is announced and all is quiet. */
async function announced(t: Test) {
  const r = rig(t);
  await r.announcer.announce(BEAMER);
  await r.advance(3_000);
  r.take();
  return r;
}

const ask = (name: string, type = 'PTR'): Packet => ({ questions: [{ name, type }] });
const SERVICES = ask('_beamerzf._tcp.local');
const addressOf = (host: string, data: string): Packet => ({ answers: [{ name: host, type: 'A', ttl: 120, data }] });
const summary = (sent: Sent[]) =>
  sent.map(({ packet, kind }) => `${kind} ${(packet.answers ?? packet.authorities ?? []).length}`);

t.test('asks three times for the name, then announces it twice (RFC 6762 8)', async (t) => {
  const r = rig(t);
  await r.announcer.announce(BEAMER);
  t.equal(r.announcer.status().state, 'claiming');
  await r.advance(2_500);
  t.strictSame(
    r.sent.map(({ kind, atMs }) => [kind, atMs]),
    [
      ['query', 140],
      ['query', 390],
      ['query', 640],
      ['response', 890],
      ['response', 1_890],
    ],
  );
  const [probe, , , announcement] = r.sent;
  t.strictSame(
    probe?.packet.questions,
    ['beamer._beamerzf._tcp.local', 'beamer._usbip._tcp.local', 'beamer.local'].map((name) => ({ name, type: 'ANY' })),
  );
  t.equal(probe?.packet.authorities?.length, 5, 'with what it wants: two services, two texts, an address');
  t.equal(announcement?.packet.answers?.length, 9);
  t.equal(r.announcer.status().state, 'announced');
});

t.test('announces again for ever, ever more rarely, up to every half hour', async (t) => {
  const r = await announced(t);
  const hours = 6;
  for (let passed = 0; passed < hours * 60; passed += 1) {
    r.clock.advance(MINUTE_MS);
    await r.announcer.look();
  }
  const times = r.take().map(({ atMs }) => Math.round(atMs / MINUTE_MS));
  t.ok(times.length > 14, `${times} minutes`);
  t.ok(times.slice(-4).every((time, index, last) => index === 0 || time - (last[index - 1] ?? 0) <= 31));
  t.ok((times.at(-1) ?? 0) > 300);
});

t.test('answers for all that is asked, with what will be asked for next', async (t) => {
  const r = await announced(t);
  r.query(SERVICES);
  await r.advance(200);
  const [{ packet, to } = { packet: {}, to: undefined }] = r.take();
  t.equal(to, undefined, 'to everybody');
  t.match(packet.answers, [{ name: '_beamerzf._tcp.local', data: 'beamer._beamerzf._tcp.local' }]);
  t.strictSame(packet.additionals?.map(({ type }) => type).sort(), ['A', 'SRV', 'TXT']);
});

t.test('says nothing twice within a second, to those who probe within a quarter of it', async (t) => {
  const r = await announced(t);
  for (let times = 0; times < 50; times += 1) r.query(SERVICES);
  await r.advance(500);
  t.equal(r.take().length, 1);
  await r.advance(600);
  r.query(SERVICES);
  await r.advance(200);
  t.equal(r.take().length, 1);
  const probe = { ...ask('beamer.local', 'ANY'), authorities: addressOf('beamer.local', '192.168.1.9').answers ?? [] };
  for (let times = 0; times < 10; times += 1) r.query(probe);
  await r.advance(10);
  t.equal(r.take().length, 1, 'a name is defended at once');
  await r.advance(300);
  r.query(probe);
  await r.advance(10);
  t.equal(r.take().length, 1);
});

t.test('keeps quiet about what the asker knows, and what nobody asked', async (t) => {
  const r = await announced(t);
  const known = { name: '_beamerzf._tcp.local', type: 'PTR', ttl: 4000, data: 'beamer._beamerzf._tcp.local' };
  r.query({ ...SERVICES, answers: [known] });
  r.query(ask('_http._tcp.local'));
  r.query(ask('other.local', 'A'));
  r.query({});
  await r.advance(200);
  t.strictSame(r.take(), []);
  r.query({ ...SERVICES, answers: [{ ...known, ttl: 1000 }] });
  await r.advance(200);
  t.equal(r.take().length, 1, 'what is soon forgotten is said again');
});

t.test('answers who does not know mDNS directly, twenty times a second at most', async (t) => {
  const r = await announced(t);
  const from = { address: '192.168.1.20', port: 40_000 };
  r.query({ id: 77, ...ask('beamer.local', 'A') }, from);
  await r.advance(10);
  t.match(r.take(), [
    {
      to: from,
      packet: {
        id: 77,
        questions: [{ name: 'beamer.local', type: 'A' }],
        answers: [{ data: '192.168.1.7', ttl: 10, flush: false }],
      },
    },
  ]);
  for (let times = 0; times < 200; times += 1) r.query(ask('beamer.local', 'A'), from);
  await r.advance(10);
  t.equal(r.take().length, 19);
  await r.advance(1_000);
  r.query(ask('beamer.local', 'A'), from);
  await r.advance(10);
  t.equal(r.take().length, 1);
});

t.test('a name that is held is asked for anew when somebody else claims it, and kept if he is silent', async (t) => {
  const r = await announced(t);
  r.response(addressOf('beamer.local', '192.168.1.9'));
  t.equal(r.announcer.status().state, 'claiming');
  r.response(addressOf('beamer.local', '192.168.1.9'));
  await r.advance(2_500);
  t.strictSame(summary(r.take()), ['query 5', 'query 5', 'query 5', 'response 9', 'response 9']);
  t.equal(r.conflicts(), 0);

  for (let times = 0; times < 100; times += 1) r.response(addressOf('beamer.local', '192.168.1.9'));
  t.equal(r.announcer.status().state, 'announced', 'whoever goes on claiming cannot silence us');
  await r.advance(10_000);
  r.response(addressOf('beamer.local', '192.168.1.9'));
  await r.advance(300);
  r.response(addressOf('beamer.local', '192.168.1.9'));
  t.equal(r.conflicts(), 1, 'he answers for it');
});

t.test('what this machine says of itself is no conflict', async (t) => {
  const r = await announced(t);
  const own = r.announcer;
  r.response(addressOf('beamer.local', '192.168.1.7'));
  r.response(addressOf('beamer.local', '10.0.0.7'));
  r.response(addressOf('other.local', '192.168.1.9'));
  r.response({ answers: [{ name: 'beamer.local', type: 'A', ttl: 0, data: '192.168.1.9' }] });
  const srv = { priority: 0, weight: 0, port: 8007, target: 'Beamer.local' };
  r.response({ answers: [{ name: 'BEAMER._usbip._tcp.local', type: 'SRV', ttl: 120, data: srv }] });
  t.equal(own.status().state, 'announced');
  r.response({ answers: [{ name: 'BEAMER._usbip._tcp.local', type: 'SRV', ttl: 120, data: { ...srv, port: 3240 } }] });
  t.equal(own.status().state, 'claiming', 'but another port by our name is');
});

t.test('of two that ask at once, the one with the lower bytes steps back for a second (RFC 6762 8.2)', async (t) => {
  for (const { theirs, from, waits } of [
    { theirs: '192.168.1.9', from: OTHER, waits: true },
    { theirs: '192.168.1.3', from: OTHER, waits: false },
    { theirs: '192.168.1.7', from: OTHER, waits: false },
    { theirs: '192.168.1.9', from: { address: '10.0.0.7', port: 5353 }, waits: false },
  ]) {
    const r = rig(t);
    await r.announcer.announce(BEAMER);
    await r.advance(200);
    const authorities = addressOf('beamer.local', theirs).answers ?? [];
    r.query({ ...ask('beamer.local', 'ANY'), authorities }, from);
    await r.advance(900);
    t.equal(r.announcer.status().state, waits ? 'claiming' : 'announced', `${theirs} from ${from.address}`);
    await r.advance(1_200);
    t.equal(r.announcer.status().state, 'announced');
  }
});

t.test('a name that is lost is not taken back from its owner, one that is changed is', async (t) => {
  const r = await announced(t);
  await r.announcer.announce({ ...BEAMER, name: 'beamer-2' });
  const [goodbye] = r.take();
  t.match(goodbye, { kind: 'response' });
  t.ok(goodbye?.packet.answers?.every(({ ttl }) => ttl === 0));
  t.strictSame(goodbye?.packet.answers?.map(({ type }) => type).sort(), ['PTR', 'PTR', 'SRV', 'SRV', 'TXT', 'TXT']);
  await r.advance(3_000);
  r.take();
  r.announcer.lose();
  await r.announcer.announce({ ...BEAMER, name: 'beamer-3' });
  await r.advance(1_000);
  t.strictSame(summary(r.take()), ['query 5', 'query 5', 'query 5', 'response 9']);
});

t.test('another HTTP port is told at once, without asking for the name', async (t) => {
  const r = await announced(t);
  await r.announcer.announce({ ...BEAMER, httpPort: null });
  const [{ packet } = { packet: {} as Packet }, ...more] = r.take();
  t.strictSame(more, []);
  t.notMatch(String(packet.answers?.find(({ type }) => type === 'TXT')?.data), /http=/);
  t.equal(r.announcer.status().state, 'announced');
});

t.test('what cannot be sent twice is said once, and tried again at every look', async (t) => {
  const r = rig(t);
  r.trouble.send = true;
  await r.announcer.announce(BEAMER);
  for (let looks = 0; looks < 5; looks += 1) {
    await r.advance(1_000);
    const once = { state: 'claiming', failure: null };
    const again = { state: 'failed', failure: { code: 'mdns.send', message: /eth0: ENETUNREACH/ } };
    t.match(r.announcer.status(), looks === 0 ? once : again);
    await r.announcer.look();
  }
  t.equal(r.lines.length, 1);
  r.trouble.send = false;
  await r.advance(1_000);
  await r.announcer.look();
  await r.advance(3_000);
  t.match(r.announcer.status(), { state: 'announced', failure: null });
  t.equal(r.openSockets(), 1);

  r.trouble.send = true;
  r.clock.advance(60 * MINUTE_MS);
  await r.announcer.look();
  await r.announcer.look();
  await r.advance(1_000);
  t.match(r.announcer.status(), { state: 'failed', failure: { code: 'mdns.send' } });
});

t.test('a socket that cannot be opened is tried again, too', async (t) => {
  const r = rig(t);
  r.trouble.open = true;
  await r.announcer.announce(BEAMER);
  await r.advance(100);
  t.match(r.announcer.status(), { state: 'failed', failure: { code: 'mdns.socket' } });
  r.trouble.open = false;
  await r.announcer.look();
  await r.advance(2_000);
  t.match(r.announcer.status(), { state: 'announced', failure: null });
});

t.test('a stop says goodbye where the name is held, and leaves nothing behind', async (t) => {
  for (const [ms, goodbye, packets] of [
    [3_000, true, ['response 6']],
    [3_000, false, []],
    [300, true, []],
    [0, true, []],
  ] as const) {
    const r = rig(t);
    await r.announcer.announce(BEAMER);
    await r.advance(ms);
    r.query(SERVICES);
    r.take();
    await r.announcer.stop({ goodbye });
    await nextTurn();
    t.strictSame(summary(r.take()), packets, `after ${ms} ms`);
    t.equal(r.openSockets(), 0);
    t.equal(r.clock.pending, 0);
  }
});
