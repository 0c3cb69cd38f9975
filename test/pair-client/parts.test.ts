import fc from 'fast-check';
import t from 'tap';
import type { FoundDevice } from '../../src/discovery/browse.ts';
import { type Answer, busyOf, infoOf, readyOf, takenOf } from '../../src/pair-client/answers.ts';
import { humanText, jsonLine, type PairEvent, withoutRepeats } from '../../src/pair-client/events.ts';
import { parseForward } from '../../src/pair-client/forward.ts';
import { select } from '../../src/pair-client/select.ts';
import { parseTarget } from '../../src/pair-client/target.ts';
import { Failure } from '../../src/support/failures.ts';

t.test('HOST: what is looked for, and what is taken as it is', async (t) => {
  const name = (name: string, tunnelPort: number | null = null) => ({ kind: 'name', name, tunnelPort });
  const host = (host: string, tunnelPort: number | null = null) => ({ kind: 'host', host, tunnelPort });
  for (const [text, expected] of [
    [undefined, { kind: 'any' }],
    ['beamer', name('beamer')],
    ['beamer:8007', name('beamer', 8007)],
    ['beamer.local', name('beamer.local')],
    ['Beamer.Local.', name('Beamer.Local.')],
    ['Beamer im Wohnzimmer', name('Beamer im Wohnzimmer')],
    ['Büro: Beamer', name('Büro: Beamer')],
    ['beamer.example.org', host('beamer.example.org')],
    ['localhost', host('localhost')],
    ['192.168.1.20', host('192.168.1.20')],
    ['192.168.1.20:8107', host('192.168.1.20', 8107)],
    ['fe80::1', host('fe80::1')],
    ['fe80::1%eth0', host('fe80::1%eth0')],
    ['[fe80::1%eth0]:8107', host('fe80::1%eth0', 8107)],
    ['[::1]', host('::1')],
  ] as const) {
    t.strictSame(parseTarget(text), expected, String(text));
  }
  for (const text of [
    '',
    ' ',
    '-oProxyCommand=x',
    '[beamer]',
    '[::1',
    '1.2.3',
    '300.1.1.1',
    'a:0',
    'a:65536',
    'a\nb',
  ]) {
    t.throws(() => parseTarget(text), { code: 'pair.target' }, JSON.stringify(text));
  }
  fc.assert(
    fc.property(fc.string({ maxLength: 300 }), (text) => {
      try {
        parseTarget(text);
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
      }
    }),
  );
});

t.test('a forward is read as ssh reads it, and its target stays as it is written', async (t) => {
  const local = (listen: [string, number], target: [string, number]) => ({
    kind: 'local',
    listen: { host: listen[0], port: listen[1] },
    target: { host: target[0], port: target[1] },
  });
  t.strictSame(parseForward('13240:localhost:3240'), local(['127.0.0.1', 13240], ['localhost', 3240]));
  t.strictSame(parseForward('0.0.0.0:1:127.0.0.1:2'), local(['0.0.0.0', 1], ['127.0.0.1', 2]));
  t.strictSame(parseForward('*:1:localhost:2'), local(['0.0.0.0', 1], ['localhost', 2]));
  t.strictSame(parseForward('[::1]:1:[::1]:2'), local(['::1', 1], ['::1', 2]));
  for (const text of [
    '',
    '1:2',
    '1:localhost',
    'x:localhost:2',
    '0:localhost:2',
    '1:localhost:65536',
    '::1:1:a:2',
    '1:-o:2',
    '[a]:1:b:2',
    '1:a b:2',
  ]) {
    t.throws(() => parseForward(text), { code: 'pair.forward' }, text);
  }
});

const device = (name: string, host: string | null = null): FoundDevice => ({
  ...{ name, host, addresses: ['192.168.1.2'], tunnelPort: 8007, httpPort: 5000, path: '/zeroforce', model: null },
  types: [],
});

t.test('which device is meant', async (t) => {
  const [one, two] = [device('Beamer', 'beamer.local'), device('beamer-2', 'other.local')];
  const any = { kind: 'any' } as const;
  const named = (name: string) => ({ kind: 'name', name, tunnelPort: null }) as const;
  t.strictSame(select(any, [], null), { kind: 'none' });
  t.strictSame(select(any, [one], null), { kind: 'one', device: one, sought: true });
  t.strictSame(select(any, [one, two], null), { kind: 'several', devices: [one, two] });
  t.strictSame(select(any, [one, two], 'beamer-2'), { kind: 'one', device: two, sought: true }, 'the one of before');
  t.strictSame(select(any, [one, two], 'gone'), { kind: 'none' }, 'and no other, when it is missing');
  t.strictSame(select(any, [two], 'gone'), { kind: 'one', device: two, sought: false }, 'unless its host key is right');
  t.strictSame(select(named('BEAMER'), [two, one], null), { kind: 'one', device: one, sought: true });
  t.strictSame(select(named('other.local.'), [one, two], null), { kind: 'one', device: two, sought: true });
  t.strictSame(select(named('other'), [one, two], 'Beamer'), { kind: 'one', device: two, sought: true });
  t.strictSame(select(named('third'), [one], null), { kind: 'none' }, 'a name is never exchanged for another');
});

const answer = (status: number, body: string, headers = {}): Answer => ({ status, body, headers });
const HTML = '<!doctype html><title>Router</title>true OK {"ok":true}';

t.test('readytopair of older and newer firmware', async (t) => {
  for (const body of ['true', ' true\n', '{"ready":true}', '{"ready":true,"since":3}\r\n']) {
    t.equal(readyOf(answer(200, body)), true, body);
  }
  for (const body of ['false', 'false\n', '{"ready":false}']) t.equal(readyOf(answer(200, body)), false, body);
  for (const body of ['', 'TRUE!', HTML, '{"ready":"true"}', '[true]', 'null', '{}'])
    t.equal(readyOf(answer(200, body)), null, body);
  t.equal(readyOf(answer(302, 'true')), null, 'a redirect is not followed');
});

t.test('a key was taken only where the device says so', async (t) => {
  for (const body of ['{"ok":true}', 'OK', 'OK\n', '{"status":"ok"}']) {
    t.equal(takenOf(answer(200, body)).kind, 'taken', body);
    t.equal(takenOf(answer(201, body)).kind, 'taken', body);
  }
  for (const body of ['', HTML, '{"ok":false}', '{"ok":false,"status":"ok"}', '"OK"', 'NOT OK']) {
    t.equal(takenOf(answer(200, body)).kind, 'no-answer', body);
  }
  t.strictSame(takenOf(answer(403, '{"ok":false}')), { kind: 'closed', pin: false });
  t.strictSame(takenOf(answer(429, '', { 'retry-after': '7' })), { kind: 'busy', afterMs: 7_000 });
  t.strictSame(busyOf(answer(429, '', { 'retry-after': 'Wed, 21 Oct 2015 07:28:00 GMT' })), {
    kind: 'busy',
    afterMs: 60_000,
  });
  t.equal(takenOf(answer(500, 'OK')).kind, 'no-answer');
  t.equal(takenOf(answer(302, 'OK')).kind, 'no-answer');
  t.match(takenOf(answer(400, '{"ok":false,"error":"too\\u001b[31m short\\nreally"}')), {
    kind: 'hopeless',
    reason: { code: 'pair.key-rejected', sentence: 'the device does not accept the key: too [31m short really' },
  });
});

t.test('info of any firmware, without what could harm a terminal', async (t) => {
  t.equal(infoOf(answer(404, '{}')), null);
  t.equal(infoOf(answer(200, HTML)), null);
  const body = '{"version":"1.2\\u001b]0;x\\u0007","policy":"pin","pin_ready":true}';
  t.strictSame(infoOf(answer(200, body)), { version: '1.2 ]0;x', hostname: null, policy: 'pin', pinReady: true });
  fc.assert(fc.property(fc.json(), (json) => infoOf(answer(200, json)) !== undefined));
});

t.test('the same trouble is said once, and again after ten minutes or when something else happened', async (t) => {
  const said: string[] = [];
  let nowMs = 0;
  const emit = withoutRepeats(
    (event) => said.push(event.event),
    () => nowMs,
  );
  const retry: PairEvent = { event: 'retry', code: 'pair.no-answer', sentence: 'nobody', seconds: 2 };
  emit({ event: 'looking', for: null });
  emit(retry);
  emit({ event: 'looking', for: null });
  emit({ ...retry, seconds: 4 });
  t.strictSame(said, ['looking', 'retry']);
  nowMs = 10 * 60_000;
  emit(retry);
  t.equal(said.length, 3);
  emit({ event: 'paired', by: 'setkey' });
  emit(retry);
  t.equal(said.length, 5);
});

t.test('every event has a text, and one line of JSON', async (t) => {
  const events: PairEvent[] = [
    { event: 'choose', devices: [{ name: 'a\nb', address: '::1', tunnelPort: 1, httpPort: null, model: 'm' }] },
    { event: 'failed', code: 'pair.several', sentence: 'two\nlines', exitCode: 4 },
  ];
  for (const event of events) {
    t.ok(humanText(event).length > 5);
    t.notMatch(jsonLine(event, new Date(0)), /\n/);
    t.match(JSON.parse(jsonLine(event, new Date(0))), { time: '1970-01-01T00:00:00.000Z', event: event.event });
  }
  t.match(JSON.parse(jsonLine(events[1] as PairEvent, new Date(0))), { remedy: /Name the one/ });
});
