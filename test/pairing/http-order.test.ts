import t from 'tap';
import { startPairingApp, TUNNEL_SOURCE } from '../support/pairing-app.ts';
import { freshKeyLine } from '../support/public-keys.ts';

const SETKEY = '/zeroforce/setkey';
const FORM = 'application/x-www-form-urlencoded';

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

t.test('of any faults together, the first in the order of the checks is answered', async (t) => {
  const line = freshKeyLine();
  const { ask, pairing } = await startPairingApp(t);
  const exhausted = await startPairingApp(t);
  for (const from of ['127.0.0.1', TUNNEL_SOURCE]) {
    for (let n = 0; n < 60; n += 1) await exhausted.ask(SETKEY, { method: 'POST', from });
  }
  // Every set of faults once, from ever new addresses where the rate limit is not meant.
  for (let set = 0; set < 2 ** NAMES.length; set += 1) {
    const faults = NAMES.filter((_name, bit) => (set & (1 << bit)) !== 0);
    const has = (name: (typeof NAMES)[number]) => faults.includes(name);

    const server = has('tooMany') ? exhausted : { ask, pairing };
    server.pairing.open = !has('closed');
    const value = has('key') ? 'no key' : line;
    const filler = has('size') ? `&filler=${'x'.repeat(20_000)}` : '';
    const from = has('tunnel') ? TUNNEL_SOURCE : has('tooMany') ? '127.0.0.1' : `127.0.1.${set % 250}`;
    const answer = await server.ask(SETKEY, {
      method: has('method') ? 'PUT' : 'POST',
      from,
      body: `key=${encodeURIComponent(value)}${filler}`,
      headers: {
        'Content-Type': has('type') ? 'text/plain' : FORM,
        ...(has('origin') ? { Origin: 'http://evil.example' } : {}),
      },
    });
    const name = faults.join(' + ') || 'none';
    const first = faults[0];
    if (first === undefined) {
      t.match(answer, { status: 200, body: '{"ok":true}' }, name);
    } else {
      const { status, words } = FAULTS[first];
      t.equal(answer.status, status, name);
      t.match(JSON.parse(answer.body).error, words, name);
    }
  }
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
