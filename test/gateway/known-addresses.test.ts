import t from 'tap';
import { KnownAddresses } from '../../src/gateway/known-addresses.ts';

const DAY_MS = 24 * 3600_000;

function setUp() {
  const time = { nowMs: 1000 * DAY_MS };
  return { time, addresses: new KnownAddresses(() => time.nowMs) };
}

t.test('an address is known for its device, and to the gate for any', async (t) => {
  const { addresses, time } = setUp();
  t.strictSame(addresses.saw('one', '::ffff:192.0.2.1'), { deviceKey: 'one', address: '192.0.2.1', atMs: time.nowMs });
  t.ok(addresses.isOf('one', '192.0.2.1'));
  t.notOk(addresses.isOf('two', '192.0.2.1'));
  t.notOk(addresses.isOf('one', '192.0.2.2'));
  t.ok(addresses.has('192.0.2.1'));
  t.notOk(addresses.has('192.0.2.2'));
});

t.test('it is stored again no more often than every hour', async (t) => {
  const { addresses, time } = setUp();
  t.ok(addresses.saw('one', '192.0.2.1'));
  time.nowMs += 3599_000;
  t.equal(addresses.saw('one', '192.0.2.1'), null);
  time.nowMs += 1000;
  t.ok(addresses.saw('one', '192.0.2.1'));
  time.nowMs -= 100 * DAY_MS;
  t.ok(addresses.saw('one', '192.0.2.1'), 'also after the wall clock was set back');
});

t.test('of each device the sixteen newest are kept', async (t) => {
  const { addresses, time } = setUp();
  addresses.saw('two', '192.0.2.1');
  for (let i = 1; i <= 17; i += 1) {
    time.nowMs += 3600_000;
    addresses.saw('one', `192.0.2.${i}`);
    if (i === 10) addresses.saw('one', '192.0.2.2');
  }
  t.notOk(addresses.isOf('one', '192.0.2.1'));
  t.ok(addresses.has('192.0.2.1'), 'another device was there, too');
  t.ok(addresses.isOf('one', '192.0.2.2'), 'it was seen again');
  time.nowMs += 3600_000;
  addresses.saw('one', '192.0.2.18');
  t.notOk(addresses.has('192.0.2.3'));
});

t.test('after ninety days an address may be another subscriber’s', async (t) => {
  const { addresses, time } = setUp();
  addresses.saw('one', '192.0.2.1');
  time.nowMs += 90 * DAY_MS;
  t.notOk(addresses.isOf('one', '192.0.2.1'));
});

t.test('what was stored is taken up, the newest of it', async (t) => {
  const { addresses, time } = setUp();
  addresses.load(
    Array.from({ length: 20 }, (_, i) => ({
      deviceKey: 'one',
      address: `192.0.2.${i}`,
      atMs: time.nowMs - i * 5 * DAY_MS,
    })),
  );
  for (let i = 0; i < 20; i += 1) t.equal(addresses.has(`192.0.2.${i}`), i < 16, `${i}`);
  addresses.saw('one', '192.0.2.99');
  t.notOk(addresses.has('192.0.2.15'), 'the oldest goes first');
});

t.test('a removed device is forgotten', async (t) => {
  const { addresses } = setUp();
  addresses.saw('one', '192.0.2.1');
  addresses.saw('two', '192.0.2.1');
  addresses.forget('one');
  t.notOk(addresses.isOf('one', '192.0.2.1'));
  t.ok(addresses.has('192.0.2.1'));
  addresses.forget('two');
  addresses.forget('nobody');
  t.notOk(addresses.has('192.0.2.1'));
});
