import { gzipSync } from 'node:zlib';
import t, { type Test } from 'tap';
import { prove } from '../../src/srp/client.ts';
import { Failure, type FailureCode } from '../../src/support/failures.ts';
import { type Ask, startPairingApp, TUNNEL_SOURCE } from '../support/pairing-app.ts';
import { pairingService } from '../support/pairing-service.ts';
import { freshKeyLine, freshRsaKeyLine } from '../support/public-keys.ts';

const CHALLENGE = '/zeroforce/pin/challenge';
const SETKEY = '/zeroforce/pin/setkey';
const CLOSED = 'Not in pairing mode; refusing to change authorized key';
const PIN = '20261121';
const GOOD = {
  session: '0a'.repeat(16),
  A: '0b'.repeat(384),
  M1: '0c'.repeat(64),
  key: freshKeyLine(),
  mac: '0d'.repeat(64),
};

/** The routes, open to a PIN; `post` sends JSON. */
async function startApp(t: Test) {
  const app = await startPairingApp(t);
  app.pairing.pinFailure = null;
  const post = (path: string, body: unknown, more: Ask = {}) =>
    app.ask(path, {
      method: 'POST',
      body: typeof body === 'string' ? body : JSON.stringify(body),
      ...more,
      headers: { 'Content-Type': 'application/json', ...more.headers },
    });
  return { ...app, post };
}

t.test('the proof arrives as it was sent', async (t) => {
  const { post, pairing } = await startApp(t);
  const key = ` ${freshRsaKeyLine()}\n`;
  const answer = await post(SETKEY, { ...GOOD, key, more: { key: 'x' } });
  t.equal(answer.status, 200);
  t.equal(answer.body, `{"ok":true,"M2":"${'03'.repeat(64)}"}`);
  t.match(answer.headers, { 'cache-control': 'no-store', 'content-type': /^application\/json/ });
  t.same(pairing.proofs, [
    {
      session: GOOD.session,
      A: Buffer.alloc(384, 0x0b),
      M1: Buffer.alloc(64, 0x0c),
      key, // with its white space: the MAC is over it
      mac: Buffer.alloc(64, 0x0d),
    },
  ]);
});

t.test('a challenge needs no body, or an object of JSON', async (t) => {
  const { ask, post } = await startApp(t);
  for (const answer of [
    await ask(CHALLENGE, { method: 'POST' }),
    await ask(CHALLENGE, { method: 'POST', headers: { 'Content-Type': 'text/plain' } }),
    await post(CHALLENGE, {}),
    await post(CHALLENGE, { more: 1 }),
  ]) {
    t.equal(answer.status, 200);
    t.same(Object.keys(JSON.parse(answer.body)), ['ok', 'session', 'group', 'hash', 'salt', 'B']);
  }
  for (const bad of ['[]', 'null', '{', '{} x']) t.equal((await post(CHALLENGE, bad)).status, 400, bad);
});

t.test('every field that is missing, there twice, cut, too long or in capitals is 400', async (t) => {
  for (const name of ['session', 'A', 'M1', 'key', 'mac'] as const) {
    const { post, pairing } = await startApp(t); // one each: the rate limit is not meant here
    const good = GOOD[name];
    const { [name]: _left, ...without } = GOOD;
    const bad: [body: unknown, words: RegExp][] = [
      [without, /missing/],
      [JSON.stringify(GOOD).replace('{', `{"${name}":"x",`), /more than once/],
      [{ ...GOOD, [name]: 7 }, /not a text/],
      [{ ...GOOD, [name]: [good] }, /not a text/],
      [{ ...GOOD, [name]: null }, /not a text/],
      [{ ...GOOD, [name]: `${good}\ufffd` }, /UTF-8/],
    ];
    if (name !== 'key') {
      for (const hex of ['', good.slice(2), good.slice(1), `${good}00`, good.toUpperCase(), `${good.slice(1)}g`]) {
        bad.push([{ ...GOOD, [name]: hex }, /lower-case hex digits/]);
      }
    }
    for (const [body, words] of bad) {
      const answer = await post(SETKEY, body);
      t.equal(answer.status, 400, JSON.stringify(body).slice(0, 60));
      t.match(JSON.parse(answer.body), { ok: false, error: words });
      t.match(JSON.parse(answer.body).error, new RegExp(`"${name}"`));
    }
    t.same(pairing.proofs, []);
  }
});

t.test('another media type, or a packed request, is 415; one too large is 413', async (t) => {
  const { ask, post, pairing } = await startApp(t);
  const form = new URLSearchParams(GOOD).toString();
  const types = ['application/x-www-form-urlencoded', 'text/plain', 'multipart/form-data; boundary=x'];
  for (const path of [CHALLENGE, SETKEY]) {
    for (const type of types) {
      const answer = await ask(path, { method: 'POST', body: form, headers: { 'Content-Type': type } });
      t.equal(answer.status, 415, type);
    }
    const packed = { method: 'POST', body: gzipSync(JSON.stringify(GOOD)) };
    const headers = { 'Content-Type': 'application/json', 'Content-Encoding': 'gzip' };
    t.equal((await ask(path, { ...packed, headers })).status, 415);
    t.equal((await post(path, { ...GOOD, filler: 'x'.repeat(16 * 1024) })).status, 413);
  }
  t.same(pairing.proofs, []);
});

t.test('each failure has its answer, and none tells of files', async (t) => {
  const { post, pairing, has } = await startApp(t);
  const failure = (code: FailureCode) => new Failure(code, `/etc/secret: ${code}`);
  for (const [code, status, words] of [
    ['pairing.closed', 403, new RegExp(`^${CLOSED}$`)],
    ['pairing.pin-missing', 403, /^No PIN is set/],
    ['pairing.pin-locked', 403, /^The PIN is locked/],
    ['state.unreadable', 500, /^The key could not be stored/],
  ] as const) {
    pairing.pinFailure = failure(code);
    for (const path of [CHALLENGE, SETKEY]) {
      const answer = await post(path, GOOD);
      t.equal(answer.status, status, code);
      t.match(JSON.parse(answer.body), { ok: false, error: words });
      t.notMatch(answer.body, /secret/);
    }
  }
  t.ok(has(/refused: The PIN is locked/), 'the log tells who was refused');
  pairing.pinFailure = null;
  for (const [code, status] of [
    ['state.unwritable', 500],
    ['key.unwritable', 500],
    ['internal.unexpected', 500],
  ] as const) {
    pairing.failure = failure(code);
    const answer = await post(SETKEY, GOOD);
    t.equal(answer.status, status);
    t.notMatch(answer.body, /secret/);
  }
  pairing.failure = failure('pairing.pin-busy');
  const busy = await post(CHALLENGE, {});
  t.equal(busy.status, 429);
  t.equal(busy.headers['retry-after'], '2');
});

t.test('a page from elsewhere gets neither a challenge nor a key, also under DNS rebinding', async (t) => {
  for (const path of [CHALLENGE, SETKEY]) {
    const { post, pairing, raw } = await startApp(t);
    for (const headers of [
      { Origin: 'http://evil.example' },
      { Origin: 'null' },
      { Origin: 'http://rebound.evil.example:5000', Host: 'rebound.evil.example:5000' },
    ]) {
      const answer = await post(path, GOOD, { headers });
      t.equal(answer.status, 403);
      t.match(JSON.parse(answer.body).error, /elsewhere/);
    }
    for (const origin of ['http://127.0.0.1:5000', 'http://beamer.local']) {
      t.equal((await post(path, GOOD, { headers: { Origin: origin } })).status, 200, origin);
    }
    const body = JSON.stringify(GOOD);
    const twice = await raw(
      `POST ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nOrigin: http://localhost\r\nOrigin: http://localhost\r\n` +
        `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    t.match(twice, /^HTTP\/1\.1 403 /, 'two Origins are one too many');
    t.equal(pairing.proofs.length, path === SETKEY ? 2 : 0);
  }
});

t.test('nobody proves a PIN through the tunnel', async (t) => {
  const { post, pairing } = await startApp(t);
  for (const path of [CHALLENGE, SETKEY]) {
    const answer = await post(path, GOOD, { from: TUNNEL_SOURCE });
    t.equal(answer.status, 403);
    t.match(JSON.parse(answer.body).error, /through the tunnel/);
  }
  t.same(pairing.proofs, []);
});

t.test('info tells the policy, and whether a proof would be accepted now', async (t) => {
  const { ask, pairing } = await startApp(t);
  const info = async () => JSON.parse((await ask('/zeroforce/info')).body);
  pairing.open = false;
  pairing.policy = 'pin';
  t.match(await info(), { pairing_mode: false, policy: 'pin', pin_ready: true });
  pairing.pinFailure = new Failure('pairing.pin-locked', 'locked');
  t.match(await info(), { policy: 'pin', pin_ready: false });
});

t.test('a client with the PIN pairs by HTTP, and one with another PIN does not', async (t) => {
  const { pairing, keyFileText } = pairingService(t.testdir(), { policy: 'pin' });
  await pairing.start();
  t.teardown(() => pairing.stop());
  await pairing.setPin(PIN);
  const { ask, form } = await startPairingApp(t, { pairing });
  const post = async (path: string, body: object, from: string) => {
    const headers = { 'Content-Type': 'application/json' };
    const answer = await ask(path, { method: 'POST', body: JSON.stringify(body), headers, from });
    return { status: answer.status, headers: answer.headers, body: JSON.parse(answer.body) };
  };
  const pair = async (pin: string, key: string, from: string) => {
    const challenge = await post(CHALLENGE, {}, from);
    t.match(challenge, {
      status: 200,
      body: { ok: true, group: 'rfc5054-3072', hash: 'SHA-512', session: /^[0-9a-f]{32}$/ },
    });
    const { A, M1, mac, accepts } = await prove(pin, challenge.body, key);
    const answer = await post(SETKEY, { session: challenge.body.session, A, M1, key, mac }, from);
    return { ...answer, authentic: answer.status === 200 && accepts(answer.body.M2) };
  };
  t.equal((await ask('/zeroforce/readytopair')).body, 'false');
  t.match(await form(freshKeyLine()), { status: 403, body: JSON.stringify({ ok: false, error: CLOSED }) });

  const wrong = await pair('20261122', freshKeyLine(), '127.0.0.2');
  t.match(wrong, { status: 403, body: { ok: false, error: 'The proof of the PIN is wrong; 19 attempts are left' } });
  t.match(await post(CHALLENGE, {}, '127.0.0.2'), { status: 429, headers: { 'retry-after': '1' } });
  t.equal(await keyFileText(), null);

  const line = freshKeyLine();
  t.match(await pair(PIN, line, '127.0.0.3'), { status: 200, authentic: true });
  t.equal(await keyFileText(), `${line}\n`);

  // Two with the PIN and two without one, all at once.
  await pairing.openLocally();
  const lines = ['a', 'b', 'c', 'd'].map((name) => freshKeyLine(name));
  const [a = '', b = '', c = '', d = ''] = lines;
  const answers = await Promise.all([pair(PIN, a, '127.0.0.4'), form(b), pair(PIN, c, '127.0.0.5'), form(d)]);
  const statuses = answers.map(({ status }) => status);
  t.same([statuses[0], statuses[2]], [200, 200]);
  t.ok([statuses[1], statuses[3]].filter((status) => status === 200).length <= 1, 'the opening is for one');
  t.ok(lines.map((each) => `${each}\n`).includes((await keyFileText()) ?? ''), 'one whole key');
});
