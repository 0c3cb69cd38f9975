import t from 'tap';
import { Failure } from '../../src/support/failures.ts';
import { startPairingApp, TUNNEL_SOURCE } from '../support/pairing-app.ts';
import { freshKeyLine } from '../support/public-keys.ts';

const SETKEY = '/zeroforce/setkey';
const PIN_CHALLENGE = '/zeroforce/pin/challenge';
const PIN_SETKEY = '/zeroforce/pin/setkey';
const KEY_LINE = freshKeyLine();

interface Fault {
  status: number;
  words: RegExp;
}

/** In the order of the contract; a request may have any of them. */
const FAULTS = {
  method: { status: 405, words: /POST/ },
  tooMany: { status: 429, words: /Too many/ },
  origin: { status: 403, words: /elsewhere/ },
  tunnel: { status: 403, words: /tunnel/ },
  closed: { status: 403, words: /^Not in pairing mode; refusing to change authorized key$/ },
  size: { status: 413, words: /larger/ },
  type: { status: 415, words: /Send the key as/ },
  key: { status: 400, words: /./ },
} satisfies Record<string, Fault>;
const NAMES = Object.keys(FAULTS) as (keyof typeof FAULTS)[];

/** Every route that has to do with setting the key: a body that is right, one that is wrong, and the answer. */
const ROUTES = [
  {
    path: SETKEY,
    type: 'application/x-www-form-urlencoded',
    body: (good: boolean, filler: string) =>
      `key=${encodeURIComponent(good ? KEY_LINE : 'no key')}${filler === '' ? '' : `&filler=${filler}`}`,
    answer: { ok: true },
  },
  {
    path: PIN_CHALLENGE,
    type: 'application/json',
    body: (good: boolean, filler: string) => (good ? JSON.stringify({ filler }) : `["${filler}"]`),
    answer: {
      ok: true,
      session: 'ab'.repeat(16),
      group: 'rfc5054-3072',
      hash: 'SHA-512',
      salt: '01'.repeat(16),
      B: '02'.repeat(384),
    },
  },
  {
    path: PIN_SETKEY,
    type: 'application/json',
    body: (good: boolean, filler: string) => JSON.stringify({ ...PROOF, key: good ? KEY_LINE : 'no key', filler }),
    answer: { ok: true, M2: '03'.repeat(64) },
  },
];
const PROOF = { session: '0a'.repeat(16), A: '0b'.repeat(384), M1: '0c'.repeat(64), mac: '0d'.repeat(64) };

for (const route of ROUTES) {
  t.test(`${route.path}: of any faults together, the first in the order of the checks is answered`, async (t) => {
    const { ask, pairing } = await startPairingApp(t);
    const exhausted = await startPairingApp(t);
    for (const from of ['127.0.0.1', TUNNEL_SOURCE]) {
      // The three routes share one allowance.
      for (let n = 0; n < 60; n += 1) await exhausted.ask(ROUTES[n % 3]?.path ?? '', { method: 'POST', from });
    }
    // Every set of faults once, from ever new addresses where the rate limit is not meant.
    for (let set = 0; set < 2 ** NAMES.length; set += 1) {
      const faults = NAMES.filter((_name, bit) => (set & (1 << bit)) !== 0);
      const has = (name: (typeof NAMES)[number]) => faults.includes(name);

      const server = has('tooMany') ? exhausted : { ask, pairing };
      server.pairing.open = !has('closed');
      server.pairing.pinFailure = has('closed') ? new Failure('pairing.closed', 'pairing is not open') : null;
      const from = has('tunnel') ? TUNNEL_SOURCE : has('tooMany') ? '127.0.0.1' : `127.0.1.${set % 250}`;
      const answer = await server.ask(route.path, {
        method: has('method') ? 'PUT' : 'POST',
        from,
        body: route.body(!has('key'), has('size') ? 'x'.repeat(20_000) : ''),
        headers: {
          'Content-Type': has('type') ? 'text/plain' : route.type,
          ...(has('origin') ? { Origin: 'http://evil.example' } : {}),
        },
      });
      const name = faults.join(' + ') || 'none';
      const first = faults[0];
      if (first === undefined) {
        t.equal(answer.status, 200, name);
        t.same(JSON.parse(answer.body), route.answer, name);
      } else {
        const { status, words } = FAULTS[first];
        t.equal(answer.status, status, name);
        t.match(JSON.parse(answer.body).error, words, name);
      }
    }
  });
}

t.test('a source whose PIN was wrong a moment ago waits, before anything else is asked', async (t) => {
  const { ask, pairing } = await startPairingApp(t);
  pairing.pinWait = 17;
  for (const path of [PIN_CHALLENGE, PIN_SETKEY]) {
    const answer = await ask(path, { method: 'POST', headers: { Origin: 'null' }, body: 'x'.repeat(20_000) });
    t.equal(answer.status, 429);
    t.equal(answer.headers['retry-after'], '17');
    t.same(JSON.parse(answer.body), { ok: false, error: 'The PIN was wrong; try again in 17 s' });
    t.equal((await ask(path, { method: 'PUT' })).status, 405);
  }
  t.equal((await ask(SETKEY, { method: 'POST' })).status, 415, 'setkey knows no PIN');
});

t.test('an unknown path is 404 before anything else is asked', async (t) => {
  const { ask, pairing } = await startPairingApp(t);
  pairing.open = false;
  const answer = await ask('/zeroforce/setkeys', {
    method: 'PUT',
    from: TUNNEL_SOURCE,
    body: 'x'.repeat(20_000),
    headers: { Origin: 'null' },
  });
  t.equal(answer.status, 404);
});
