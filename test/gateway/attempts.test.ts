import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t from 'tap';
import { type Attempt, Attempts } from '../../src/gateway/attempts.ts';
import { FakeClock } from '../support/fake-clock.ts';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;
const heapMiB = () => {
  collectGarbage();
  return process.memoryUsage().heapUsed / 2 ** 20;
};

const SHORT: Attempt = {
  deviceKey: 'camera',
  address: '198.51.100.1',
  hash: 'wrong',
  right: false,
  guessable: true,
  isOwnAddress: false,
};
const STRONG: Attempt = { ...SHORT, guessable: false };

function setUp() {
  const clock = new FakeClock();
  const attempts = new Attempts(clock);
  let guesses = 0;
  return {
    clock,
    attempts,
    judge: (attempt: Partial<Attempt>) => attempts.judge({ ...SHORT, ...attempt }),
    /** Another wrong token. */
    guess: (attempt: Partial<Attempt> = {}) => attempts.judge({ ...SHORT, hash: `guess ${guesses++}`, ...attempt }),
  };
}

const looked = (verdict: ReturnType<Attempts['judge']>) => verdict.pass || !verdict.unlooked;

t.test('wrong answers take their time: half a second, twice as long each time, four seconds at most', async (t) => {
  const { attempts, clock } = setUp();
  const delays = Array.from({ length: 6 }, () => {
    const verdict = attempts.judge(STRONG);
    return verdict.pass ? null : verdict.delayMs;
  });
  t.strictSame(delays, [500, 1000, 2000, 4000, 4000, 4000]);
  const other = attempts.judge({ ...STRONG, address: '198.51.100.2' });
  t.strictSame(other, { pass: false, delayMs: 4000, unlooked: false }, 'the device counts, whoever guesses');
  t.strictSame(attempts.wrongTunnelToken('::ffff:198.51.100.2'), { delayMs: 1000 }, 'and the source, in any writing');
  clock.advance(600_001);
  t.strictSame(attempts.judge(STRONG), { pass: false, delayMs: 500, unlooked: false }, 'until ten minutes passed');
});

t.test('an unknown device is answered as one with a strong token', async (t) => {
  const known = setUp();
  const unknown = setUp();
  for (let i = 0; i < 20; i += 1) {
    const { deviceKey } = STRONG;
    t.strictSame(known.attempts.judge(STRONG), unknown.attempts.judge({ ...STRONG, deviceKey: `no ${deviceKey}` }));
  }
});

t.test('a strong token passes at once, whatever strangers guess meanwhile', async (t) => {
  const { attempts, clock } = setUp();
  for (let i = 0; i < 10_000; i += 1) {
    attempts.judge({ ...STRONG, hash: `guess ${i}`, address: `198.51.100.${i % 256}` });
    if (i % 100 === 0) {
      clock.advance(10);
      t.ok(attempts.judge({ ...STRONG, right: true }).pass);
    }
  }
});

t.test(
  'a short token is looked at five times from addresses that the device never used, then once a minute',
  async (t) => {
    const { guess, judge, clock } = setUp();
    const verdicts = Array.from({ length: 100 }, (_, i) => guess({ address: `198.51.${i}.1` }));
    t.equal(verdicts.filter(looked).length, 5, 'however many addresses there are');
    t.notOk(judge({ right: true }).pass, 'even the right one is not looked at');
    clock.advance(60_000);
    t.ok(judge({ right: true }).pass);
    t.ok(judge({ right: true }).pass, 'and costs nothing');
    t.equal(Array.from({ length: 100 }, () => guess()).filter(looked).length, 1);
    for (let second = 0; second < 3600; second += 1) {
      clock.advance(1000);
      for (let i = 0; i < 5; i += 1) verdicts.push(guess({ address: `198.51.${i}.1` }));
    }
    t.equal(verdicts.filter(looked).length - 5, 60, 'sixty an hour');
  },
);

t.test('an answer that was not looked at is as late as a wrong one', async (t) => {
  const one = setUp();
  const other = setUp();
  for (let i = 0; i < 8; i += 1) {
    const short = one.guess();
    const strong = other.guess({ guessable: false });
    t.strictSame({ ...short, unlooked: false }, strong);
  }
});

t.test('strangers do not keep a device with a short token from coming in from its own address', async (t) => {
  const { guess, judge, clock } = setUp();
  for (let i = 0; i < 1000; i += 1) {
    guess({ address: `198.51.100.${i % 256}` });
    clock.advance(10);
  }
  t.ok(judge({ right: true, isOwnAddress: true, address: '192.0.2.1' }).pass);
});

t.test('who shares the address of a device has twenty guesses, then one a second', async (t) => {
  const { guess, clock } = setUp();
  const here = { isOwnAddress: true, address: '192.0.2.1' };
  t.equal(Array.from({ length: 100 }, () => guess(here)).filter(looked).length, 20);
  clock.advance(5000);
  t.equal(Array.from({ length: 100 }, () => guess(here)).filter(looked).length, 5);
  t.equal(Array.from({ length: 100 }, () => guess({ ...here, address: '192.0.2.2' })).filter(looked).length, 20);
});

t.test('one address has thirty guesses at devices that never used it, then one in five seconds', async (t) => {
  const { guess, clock } = setUp();
  const all = (round: number) => Array.from({ length: 200 }, (_, i) => guess({ deviceKey: `camera ${round} ${i}` }));
  t.equal(all(0).filter(looked).length, 30);
  clock.advance(50_000);
  t.equal(all(1).filter(looked).length, 10);
});

t.test('a device with a stale token says the same again and again, and uses nothing up', async (t) => {
  const { judge, clock } = setUp();
  for (let i = 0; i < 100; i += 1) {
    clock.advance(1000);
    t.ok(looked(judge({ hash: 'stale' })));
  }
  t.ok(judge({ right: true }).pass, 'so that it comes in as soon as its token is right');
});

t.test('all addresses of an IPv6 network are one', async (t) => {
  const { guess } = setUp();
  const verdicts = (own: boolean) =>
    Array.from({ length: 50 }, (_, i) =>
      guess({ deviceKey: own ? 'camera' : `camera ${i}`, isOwnAddress: own, address: `2001:db8::${i.toString(16)}` }),
    );
  t.equal(verdicts(true).filter(looked).length, 20);
  t.equal(verdicts(false).filter(looked).length, 30);
});

t.test('another token of the device, another count', async (t) => {
  const { guess, judge, attempts } = setUp();
  for (let i = 0; i < 10; i += 1) guess();
  t.notOk(judge({ right: true }).pass);
  attempts.forget('camera');
  t.ok(judge({ right: true }).pass);
});

t.test('a million sources and invented keys are not remembered', async (t) => {
  const { attempts } = setUp();
  const before = heapMiB();
  for (let i = 0; i < 1_000_000; i += 1) {
    const address = `${1 + (i >> 24)}.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`;
    attempts.judge({ ...STRONG, deviceKey: `device ${i}`, address });
    attempts.judge({ ...SHORT, address, hash: `guess ${i}` });
  }
  const grownMiB = heapMiB() - before;
  t.ok(grownMiB < 12, `${grownMiB.toFixed(1)} MiB`);
});
