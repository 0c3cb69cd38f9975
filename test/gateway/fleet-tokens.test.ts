import t from 'tap';
import { plainAddress, sourceOf } from '../../src/gateway/source.ts';
import { isStrong, isTunnelToken, makeDeviceKey, makeTokenCode, makeTunnelToken } from '../../src/gateway/tokens.ts';

t.test('story: a tunnel token is 32 random bytes in 52 characters of A–Z 2–7', async (t) => {
  const seen = new Set<string>();
  for (let i = 0; i < 500; i += 1) {
    const token = makeTunnelToken();
    t.match(token, /^[A-Z2-7]{52}$/);
    t.ok(isTunnelToken(token));
    seen.add(token);
  }
  t.equal(seen.size, 500);
});

t.test('base32 is that of RFC 4648, without padding', async (t) => {
  t.equal(
    makeTunnelToken(() => Buffer.from('foobar')),
    'MZXW6YTBOI',
  );
  t.equal(
    makeTunnelToken(() => Buffer.from('fooba')),
    'MZXW6YTB',
  );
  t.equal(
    makeTunnelToken(() => Buffer.from('foo')),
    'MZXW6',
  );
  t.equal(
    makeTunnelToken(() => Buffer.from('f')),
    'MY',
  );
  t.equal(
    makeTunnelToken((bytes) => Buffer.alloc(bytes, 0xff)),
    `${'7'.repeat(51)}Q`,
  );
  t.equal(
    makeTunnelToken((bytes) => Buffer.alloc(bytes)),
    'A'.repeat(52),
  );
});

t.test('what is no tunnel token', async (t) => {
  for (const text of [
    '',
    'A'.repeat(51),
    'A'.repeat(53),
    'a'.repeat(52),
    `${'A'.repeat(51)}1`,
    `${'A'.repeat(52)}\n`,
  ]) {
    t.notOk(isTunnelToken(text), JSON.stringify(text));
  }
});

t.test('keys and Meeting tokens that we make have 128 bits', async (t) => {
  t.match(makeDeviceKey(), /^[0-9A-F]{32}$/);
  t.match(makeTokenCode(), /^[0-9a-f]{32}$/);
  t.not(makeTokenCode(), makeTokenCode());
  t.ok(isStrong(makeTokenCode()));
  t.notOk(isStrong('41e291'));
  t.notOk(isStrong('123456789012345'));
  t.ok(isStrong('1234567890123456'));
});

t.test('a source is an IPv4 address, or the /64 of an IPv6 address', async (t) => {
  const sources: [string, string][] = [
    ['192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['::FFFF:192.0.2.7', '192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:DB8:1:2::', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['2001:0db8:0001:0000:ffff::', '2001:db8:1:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['64:ff9b::192.0.2.7', '64:ff9b:0:0::/64'],
    ['1:2:3:4:5:6:192.0.2.7', '1:2:3:4::/64'],
    ['::1:2:3:4:5:192.0.2.7', '0:1:2:3::/64'],
    ['', ''],
    ['nonsense', 'nonsense'],
  ];
  for (const [address, source] of sources) t.equal(sourceOf(address), source, address);
  for (const [, source] of sources) t.equal(sourceOf(source), source, `${source} is one already`);
  t.equal(plainAddress('::ffff:192.0.2.7'), '192.0.2.7');
  t.equal(plainAddress('fe80::1%eth0'), 'fe80::1');
});
