import t from 'tap';
import { RateLimit } from '../../src/pairing/rate-limit.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { startPairingApp } from '../support/pairing-app.ts';
import { freshKeyLine } from '../support/public-keys.ts';

const SETKEY = '/zeroforce/setkey';

/** The limiter counts in wall time. */
function steerWallClock(t: { teardown: (end: () => void) => void }) {
  const { now } = Date;
  let offsetMs = 0;
  Date.now = () => now() + offsetMs;
  t.teardown(() => {
    Date.now = now;
  });
  return (ms: number) => {
    offsetMs += ms;
  };
}

t.test('the 61st request of a minute is 429, for its source alone', async (t) => {
  const advance = steerWallClock(t);
  const { ask, form, pairing } = await startPairingApp(t);
  for (let n = 1; n <= 60; n += 1) {
    const { status } = await ask(SETKEY, { method: 'POST' });
    if (status !== 415) t.fail(`request ${n} was answered ${status}`);
  }
  const refused = await form(freshKeyLine());
  t.equal(refused.status, 429);
  t.match(JSON.parse(refused.body), { ok: false, error: /Too many requests/ });
  const seconds = Number(refused.headers['retry-after']);
  t.ok(Number.isInteger(seconds) && seconds >= 1 && seconds <= 60, `Retry-After: ${seconds}`);
  t.same(pairing.keys, []);

  t.equal((await form(freshKeyLine(), { from: '127.0.0.2' })).status, 200, 'another source is not concerned');
  const pretended = { 'X-Forwarded-For': '10.1.1.1' };
  t.equal((await form(freshKeyLine(), { headers: pretended })).status, 429, 'a header is no other source');
  t.equal((await ask(SETKEY, { method: 'GET' })).status, 405, 'a wrong method is seen first');
  t.equal((await ask('/zeroforce/readytopair')).status, 200, 'asking is not limited');

  advance(60_000);
  t.equal((await form(freshKeyLine())).status, 200, 'a minute later it may again');
});

t.test('every kind of refusal is counted', async (t) => {
  const { ask, form, pairing } = await startPairingApp(t);
  for (let n = 0; n < 20; n += 1) {
    pairing.open = true;
    await form('no key');
    await form(freshKeyLine(), { headers: { Origin: 'null' } });
    pairing.open = false;
    await form(freshKeyLine());
  }
  pairing.open = true;
  t.equal((await form(freshKeyLine())).status, 429);
  t.equal((await ask(SETKEY, { method: 'PUT' })).status, 405);
});

t.test('a wall clock that is set back by years does not make anybody wait for years', async (t) => {
  const advance = steerWallClock(t);
  const rateLimit = new RateLimit(new FakeClock());
  for (let n = 0; n < 60; n += 1) t.equal(await rateLimit.waitSeconds('a'), 0);
  advance(-30 * 365 * 86_400_000);
  t.equal(await rateLimit.waitSeconds('a'), 60);
});

t.test('invented addresses share one allowance beyond 1000, and get their own again after a minute', async (t) => {
  const advance = steerWallClock(t);
  const clock = new FakeClock();
  const rateLimit = new RateLimit(clock);
  for (let n = 0; n < 1_000; n += 1) await rateLimit.waitSeconds(`fd00::${n}`);
  let passed = 0;
  for (let n = 0; n < 500; n += 1) if ((await rateLimit.waitSeconds(`fd01::${n}`)) === 0) passed += 1;
  t.equal(passed, 60);
  t.equal(await rateLimit.waitSeconds('fd00::1'), 0, 'who was known before is not concerned');
  advance(60_000);
  clock.advance(60_000);
  t.equal(await rateLimit.waitSeconds('fd01::400'), 0);
  t.equal(await rateLimit.waitSeconds('fd01::401'), 0);
});
