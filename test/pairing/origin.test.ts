import { networkInterfaces } from 'node:os';
import t from 'tap';
import { isTrustedOrigin, ownAddresses } from '../../src/pairing/origin.ts';
import { startPairingApp } from '../support/pairing-app.ts';
import { freshKeyLine } from '../support/public-keys.ts';

const ADDRESSES = ['127.0.0.1', '192.168.1.7', '::1', 'fe80::BA27:EBFF:fe01:203', 'fd00::7'];
const HOSTS = [...ADDRESSES, 'beamer.example.org', 'Camera', '10.9.9.9', 'FD99::1'];

t.test('pages of the device itself may pair', async (t) => {
  for (const origin of [
    'http://192.168.1.7',
    'http://192.168.1.7:5000',
    'https://192.168.1.7',
    'http://127.0.0.1:8080',
    'http://[::1]:5000',
    'http://[fd00::7]',
    'http://[fd00:0:0::0:7]:5000',
    'http://[fe80::ba27:ebff:fe01:203]',
    'http://[fe80::ba27:ebff:fe01:203%25eth0]:5000',
    'http://[fe80::ba27:ebff:fe01:203%eth0]',
    'http://localhost',
    'http://localhost:3000',
    'HTTP://LocalHost',
    'http://beamer.local:5000',
    'http://Beamer.LOCAL',
    'http://beamer.local.',
    'http://home.assistant.local',
    'http://beamer.example.org',
    'http://beamer.example.org.:8123',
    'http://camera',
    'http://10.9.9.9',
    'http://[fd99::1]:80',
  ]) {
    t.ok(isTrustedOrigin(origin, HOSTS), origin);
  }
});

t.test('any other page may not', async (t) => {
  for (const origin of [
    '',
    'null',
    'http://evil.example',
    'http://192.168.1.8',
    'http://192.168.1.77',
    'http://192.168.1.7.evil.example',
    'http://192.168.1.7@evil.example',
    'http://evil.example#192.168.1.7',
    'http://evil.example/192.168.1.7',
    'http://evil.example\\.local',
    'http://[fd00::8]',
    'http://[fd00::7',
    'http://fd00::7',
    'http://localhost.evil.example',
    'http://evillocalhost',
    'http://x.localhost',
    'http://local',
    'http://.local',
    'http://evillocal',
    'http://beamer.local.evil.example',
    'http://evil.example%2f.local',
    'http://sub.beamer.example.org',
    'http://example.org',
    'http://camera.lan',
    'http://',
    'http:///',
    'localhost',
    '//localhost',
    'file://localhost',
    'ftp://localhost',
    'chrome-extension://localhost',
    'javascript:localhost',
    'http://localhost/',
    'http://localhost/path',
    'http://localhost?x',
    'http://user@localhost',
    ' http://localhost',
    'http://localhost http://evil.example',
    'http://localhost, http://evil.example',
    'http://evil.example, http://localhost',
    'http://localhost:99999',
    'http://localhost:port',
    'http://%',
    'http://[::1]%25.evil.example',
  ]) {
    t.notOk(isTrustedOrigin(origin, HOSTS), JSON.stringify(origin));
  }
});

t.test('the addresses are those that the machine has now', async (t) => {
  const addresses = ownAddresses();
  t.ok(addresses.includes('127.0.0.1'));
  for (const address of addresses) {
    const host = address.includes(':') ? `[${address}]` : address;
    t.ok(isTrustedOrigin(`http://${host}:5000`, ownAddresses()), address);
  }
  t.equal(addresses.length, Object.values(networkInterfaces()).flat().length);
});

t.test('setkey with an Origin: the device and what is configured may, anybody else is 403', async (t) => {
  const { form, pairing } = await startPairingApp(t, { allowedHosts: () => ['panel.example.org'] });
  for (const [origin, status] of [
    ['http://127.0.0.1:5000', 200],
    ['http://beamer.local', 200],
    ['http://panel.example.org', 200],
    ['http://evil.example', 403],
    ['null', 403],
    ['', 403],
    ['http://127.0.0.1, http://evil.example', 403],
  ] as const) {
    pairing.keys.length = 0;
    const answer = await form(freshKeyLine(), { headers: { Origin: origin } });
    t.equal(answer.status, status, JSON.stringify(origin));
    t.equal(pairing.keys.length, status === 200 ? 1 : 0);
    if (status === 403) t.match(JSON.parse(answer.body), { ok: false, error: String });
  }
});

t.test('DNS rebinding: a Host that agrees with the Origin proves nothing', async (t) => {
  const { form, pairing } = await startPairingApp(t);
  const headers = { Origin: 'http://rebound.evil.example:5000', Host: 'rebound.evil.example:5000' };
  t.equal((await form(freshKeyLine(), { headers })).status, 403);
  t.same(pairing.keys, []);
});

t.test('two Origins are one too many', async (t) => {
  const { raw, pairing } = await startPairingApp(t);
  const body = `key=${encodeURIComponent(freshKeyLine())}`;
  const answer = await raw(
    'POST /zeroforce/setkey HTTP/1.1\r\nHost: x\r\nConnection: close\r\nOrigin: http://localhost\r\n' +
      `Origin: http://localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  );
  t.match(answer, /^HTTP\/1\.1 403 /);
  t.same(pairing.keys, []);
});
