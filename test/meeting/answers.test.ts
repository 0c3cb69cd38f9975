import * as fc from 'fast-check';
import t from 'tap';
import {
  readAvailability,
  readDevice,
  readHeartbeat,
  readHostKeys,
  readKeyTaken,
  readServerKey,
} from '../../src/meeting/answers.ts';
import { lanOf } from '../../src/meeting/lan.ts';
import { nextDelayMs } from '../../src/meeting/schedule.ts';
import { isPrivateKey, parseKeyLine } from '../../src/meeting/ssh-key.ts';
import { excerpt, masked } from '../../src/meeting/words.ts';
import { freshKeyLine, freshRsaKeyLine } from '../support/public-keys.ts';

const FAULT = { code: 'meeting.api-answer' };
const text = (value: unknown) => JSON.stringify(value);
const wordsOf = (line: string) => line.split(' ').slice(0, 2).join(' ');

const READERS = { readHeartbeat, readDevice, readAvailability, readKeyTaken, readServerKey };

t.test('what is no such answer is a named fault, for every call', async (t) => {
  const others = ['', ' ', 'null', '[]', '"x"', '1', 'true', '{}', '{', '<html>no</html>', 'OK', '\ufeff{}', '[{}]'];
  for (const [name, read] of Object.entries(READERS)) {
    for (const other of others) t.throws(() => read(other), FAULT, `${name} ${other}`);
  }
  t.throws(() => readDevice('<!DOCTYPE html>'), { message: 'the answer is a page for people, not JSON' });
  t.throws(() => readDevice('[1]'), { message: 'the answer is JSON, but not an object' });
});

t.test('no text makes a reader throw anything else', async () => {
  const any = fc.oneof(fc.string(), fc.json(), fc.object().map(text));
  for (const read of [...Object.values(READERS), readHostKeys]) {
    fc.assert(
      fc.property(any, (input) => {
        try {
          read(input);
        } catch (error) {
          if ((error as { code?: string }).code !== 'meeting.api-answer') throw error;
        }
      }),
      { numRuns: 300 },
    );
  }
});

t.test('a heartbeat: address and time are taken when they are such, and missed without harm', async (t) => {
  const answer = { ok: true, ip_address: '203.0.113.7', last_seen: '2026-11-21 14:02:03' };
  t.strictSame(readHeartbeat(text(answer)), { ipAddress: '203.0.113.7', lastSeen: '2026-11-21T14:02:03Z' });
  for (const ip of ['::1', '2001:db8::7', '::ffff:10.0.0.1']) {
    t.equal(readHeartbeat(text({ ...answer, ip_address: ip })).ipAddress, ip);
  }
  for (const ip of [undefined, null, 5, '', 'feed5e', 'a b', '1.2.3', `${'1:'.repeat(30)}`, '1.2.3.4\n', '<b>']) {
    t.equal(readHeartbeat(text({ ...answer, ip_address: ip })).ipAddress, null, String(ip));
  }
  for (const time of [undefined, null, 'yesterday', '2026-11-21', 1, '2026-11-21 14:02:03+01:00']) {
    t.equal(readHeartbeat(text({ ...answer, last_seen: time })).lastSeen, null, String(time));
  }
  t.throws(() => readHeartbeat(text({ ...answer, ok: false })), FAULT);
});

t.test('a device: authorized is a truth or 0 and 1, nothing else', async (t) => {
  for (const [value, authorized] of [
    [true, true],
    [false, false],
    [1, true],
    [0, false],
  ]) {
    t.strictSame(readDevice(text({ authorized: value })), { authorized, services: null });
  }
  for (const value of [null, 'true', 2, [], {}]) t.throws(() => readDevice(text({ authorized: value })), FAULT);
});

t.test('a device: the services in each of their shapes', async (t) => {
  const services = (value: unknown) => readDevice(text({ authorized: 1, services: value })).services;
  t.strictSame(services(['ssh', 'HTTP']), { ssh: true, http: true });
  t.strictSame(services({ ssh: true, vnc: false, scp: 1, http: 0 }), { ssh: true, vnc: false, scp: true, http: false });
  t.strictSame(services([{ name: 'ssh', enabled: true }, { type: 'vnc', enabled: 0 }, { type: 'relay' }]), {
    ssh: true,
    vnc: false,
    relay: true,
  });
  t.strictSame(services([]), {});
  t.equal(services(null), null);
  const many = Array.from({ length: 65 }, (_, index) => `s${index}`);
  for (const bad of [
    'ssh',
    5,
    [''],
    [5],
    [null],
    [['ssh']],
    [{ enabled: true }],
    { ssh: 'yes' },
    { 'a b': true },
    many,
  ]) {
    t.throws(() => services(bad), FAULT, text(bad));
  }
  t.throws(() => readDevice('{"authorized":1,"services":{"__proto__":true}}'), FAULT);
});

t.test('the availability, in any case', async (t) => {
  for (const status of ['Available', 'DISCONNECTED', 'unknown']) {
    t.equal(readAvailability(text({ status, uptime: 1 })), status.toLowerCase());
  }
  for (const status of ['', 'gone', null, 1]) t.throws(() => readAvailability(text({ status })), FAULT);
});

t.test('the key of the server is one key, without options and comment', async (t) => {
  const line = freshKeyLine('meeting@server');
  const [type = '', base64 = ''] = line.split(' ');
  t.strictSame(readServerKey(`${line}\n`), { type, base64 });
  for (const bad of [
    `command="rm -rf /" ${line}`,
    `from="*" ${line}`,
    `${line}\n${freshKeyLine()}`,
    `# ${line}`,
    `ssh-rsa ${base64}`,
    `${type} ${base64.slice(0, -8)}`,
    `${type} ${base64}AAAA`,
    `ssh-ed25519-cert-v01@openssh.com ${base64}`,
    type,
  ]) {
    t.throws(() => readServerKey(bad), FAULT, bad);
  }
});

t.test('a key line has a type that its bytes name too, and fields to its end', async (t) => {
  for (const line of [freshKeyLine(), freshRsaKeyLine()]) {
    t.equal(`${parseKeyLine(line)?.type} ${parseKeyLine(line)?.base64}`, wordsOf(line));
  }
  t.equal(parseKeyLine(freshKeyLine('a b  c'))?.comment, 'a b c');
  t.equal(parseKeyLine(freshKeyLine('\u0007'))?.comment, '', 'a comment that is not printable is left out');
  t.ok(isPrivateKey('-----BEGIN OPENSSH PRIVATE KEY-----'));
  t.ok(isPrivateKey('PuTTY-User-Key-File-3: ssh-ed25519'));
  t.notOk(isPrivateKey(freshKeyLine()));
});

t.test('host keys: lines, comments, types that nobody knows', async (t) => {
  const [one, two] = [wordsOf(freshKeyLine()), wordsOf(freshRsaKeyLine())];
  const lines = readHostKeys(
    `# by ssh-keyscan\n\nhost,[Host]:2222 ${one} root@x\r\n|1|a=|b=\t${two}\nhost ssh-dss AAAA\n`,
  );
  t.strictSame(
    lines.map(({ names, key }) => [names.join(), `${key.type} ${key.base64}`]),
    [
      ['host,[Host]:2222', one],
      ['|1|a=|b=', two],
    ],
  );
  t.strictSame(readHostKeys(''), []);
});

t.test('host keys: a marker, a broken key, a page or too much is refused as a whole', async (t) => {
  const key = wordsOf(freshKeyLine());
  const good = `host ${key}\n`;
  for (const bad of [
    `@cert-authority * ${key}`,
    `@revoked host ${key}`,
    'host',
    'host ssh-ed25519',
    'host ssh-ed25519 AAAA',
    `host ssh-rsa ${key.split(' ')[1]}`,
    `h\u0007st ${key}`,
    `${'x'.repeat(2000)} ${key}`,
    '<html><body>Not Found</body></html>',
    good.repeat(65),
  ]) {
    t.throws(() => readHostKeys(`${good}${bad}\n`), FAULT, bad.slice(0, 60));
  }
  t.throws(() => readHostKeys(`${good}@revoked host ${key}`), { message: /marker in line 2/ });
});

t.test('what a server says is printable, short and without the token, however it spells it', async (t) => {
  const token = 'feed5ec2e7ab';
  const escaped = [...token].map((c) => `\\u00${c.charCodeAt(0).toString(16)}`).join('');
  for (const said of [
    `bad token ${token}`,
    `bad token ${token.toUpperCase()}!`,
    `{"error":"${token}"}`,
    `{"error":"${escaped}"}`,
    `{"other":"${escaped}"}`,
    `<p>${token}</p>`,
    `${'x'.repeat(154)}${token}`,
  ]) {
    const words = excerpt(said, token);
    t.notMatch(words.toLowerCase(), /feed5/, said);
    t.match(words, /\[secret\]|\[secr…|\[s/, said);
  }
  t.equal(excerpt('no two\u0000 words', 'two words'), 'no [secret]', 'also where its parts come together only here');
  t.equal(excerpt('<h1>Not\nFound</h1>\u001b[31m\u202e', 'x1'), 'Not Found [31m');
  t.equal(excerpt('{"message":"no","x":1}', 'x1'), 'no');
  t.ok(excerpt('y'.repeat(70_000), 'x1').length < 200);
  t.equal(masked('a"b|a%22b|a\\"b|AB', 'a"b'), '[secret]|[secret]|[secret]|AB');
  t.equal(masked('(.*)', '.*'), '([secret])', 'a token is no pattern');
});

t.test('when to call again', async (t) => {
  const [low, high] = [() => 0, () => 0.999_999];
  const range = (outcome: 'failed' | 'refused', count: number, usualMs: number) =>
    [low, high].map((random) => Math.round(nextDelayMs(outcome, count, usualMs, random) / 1000));
  t.equal(nextDelayMs('done', 1, 60_000, high), 60_000);
  t.strictSame(
    [1, 2, 3, 4, 5, 6, 60].map((count) => range('failed', count, 60_000)),
    [
      [5, 10],
      [10, 20],
      [20, 40],
      [40, 80],
      [60, 120],
      [60, 120],
      [60, 120],
    ],
  );
  t.strictSame(
    [1, 2, 3, 60].map((count) => range('refused', count, 60_000)),
    [
      [120, 240],
      [240, 480],
      [300, 600],
      [300, 600],
    ],
  );
  t.strictSame(range('failed', 60, 600_000), [300, 600], 'what is seldom stays seldom');
  t.strictSame(range('failed', 1, 1000), [1, 1], 'a quick heartbeat has a quick retry');
});

t.test('the address and the MAC that a heartbeat tells', async (t) => {
  const at = (address: string, mac: string, internal = false) => [
    { address, mac, internal, netmask: '', family: 'IPv4' as const, cidr: null },
  ];
  const interfaces = { lo: at('127.0.0.1', '00:00:00:00:00:00', true), eth0: at('10.0.0.5', 'b8:27:eb:00:00:01') };
  const tun = { ...interfaces, tun0: at('10.8.0.2', '00:00:00:00:00:00'), eth1: at('fe80::5', 'b8:27:eb:00:00:02') };
  t.strictSame(lanOf('10.0.0.5', interfaces), { ip_lan: '10.0.0.5', mac: 'b8:27:eb:00:00:01' });
  t.strictSame(lanOf('fe80::5%eth1', tun), { ip_lan: 'fe80::5', mac: 'b8:27:eb:00:00:02' });
  t.strictSame(lanOf('10.8.0.2', tun), { ip_lan: '10.8.0.2' });
  for (const none of ['127.0.0.1', '192.0.2.1', null]) t.strictSame(lanOf(none, interfaces), {});
});
