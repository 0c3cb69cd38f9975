import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import t from 'tap';
import { cut, manifestText } from '../../src/diagnose/bundle/manifest.ts';
import { Redactor } from '../../src/diagnose/bundle/redact.ts';
import { namedSecrets, secretFilesNamed, secretsInJson } from '../../src/diagnose/bundle/secret-names.ts';

const SECRET = `ge"heim/wört&41 e29+1'`;
const redact = (text: string, secrets = [SECRET]) => new Redactor(secrets).text(text);

t.test('a known secret is taken out in whatever spelling', async (t) => {
  const bytes = Buffer.from(SECRET);
  const spellings = {
    plain: SECRET,
    'other case': SECRET.toUpperCase().replace('Ö', 'ö'),
    'in a URL': encodeURIComponent(SECRET),
    'in a form': new URLSearchParams({ a: SECRET }).toString().slice(2),
    'in JSON': JSON.stringify({ name: SECRET }),
    'in JSON of JSON': JSON.stringify(JSON.stringify({ name: 'a' })) + JSON.stringify(SECRET),
    'in JSON of PHP': JSON.stringify(SECRET).replaceAll('/', '\\/'),
    'in JSON of Python': JSON.stringify(SECRET).replace('ö', '\\u00f6'),
    'in HTML': SECRET.replaceAll('&', '&amp;').replaceAll('"', '&quot;'),
    'in a shell': `'${SECRET.replaceAll("'", `'\\''`)}'`,
    'in hex': bytes.toString('hex'),
    'in capital hex': bytes.toString('hex').toUpperCase(),
    'as a Buffer': `<Buffer ${bytes.toString('hex').match(/../g)?.join(' ')}>`,
    'in base64': bytes.toString('base64'),
    'in base64url': bytes.toString('base64url'),
    'in base64 after one byte': Buffer.from(`:${SECRET}tail`).toString('base64'),
    'in base64 after two bytes': Buffer.from(`ab${SECRET}t`).toString('base64'),
    'over the end of a line': `${SECRET.slice(0, 9)}\n   ${SECRET.slice(9)}`,
    'in base64 that is wrapped': Buffer.from(`user:${SECRET}`).toString('base64').replace(/.{10}/g, '$&\r\n'),
    'with a control character in it': `${SECRET.slice(0, 4)}\u0000${SECRET.slice(4, 7)}\u200e${SECRET.slice(7)}`,
  };
  for (const [name, text] of Object.entries(spellings)) {
    const out = redact(`before ${text} after`);
    t.match(out, /^before .*\[secret\][\s\S]* after$/, name);
    t.notMatch(out, /heim|w\u00f6rt|67656865|VpbS|aGVpb|ZWhlaW/i, name);
  }
});

t.test('what is no secret stays, byte for byte', async (t) => {
  const kept = [
    'tcp 0 0 192.168.1.4:22 0.0.0.0:* LISTEN 812/sshd',
    'device 3316a52eb08837267bf6bd3e2b2e8dc7, mac d8:3a:dd:8d:f9:a8',
    `pin ${createHash('sha256').update('a').digest('hex')}`,
    'SHA256:nThbg6kXUpJWGl7E1IGOCspRomTxdCARLviKw6E5SY8',
    'MEETING_TOKEN_FILE=/etc/zeroforce/token',
    '"tokenFile": "/etc/zeroforce/token"',
    'ssh://root@meeting.example.org:2222 and http://127.0.0.1:5000/a?b=c',
    `/${'usr/lib/node_modules/Zeroforce/build/src/diagnose/checks/Api1/'.repeat(2)}`,
    'Failed password for root from 127.0.0.77 port 4711 ssh2',
    'passwordauthentication no',
    `{"pin": "${createHash('sha256').update('a').digest('hex')}", "monitor": true}`,
    '\ttab, and – more ✓',
  ].join('\n');
  t.equal(redact(kept), kept);
});

t.test('unknown secrets are known by their name', async (t) => {
  for (const text of [
    'X-Token-Code: feed5ec2e7ab',
    "curl -H 'X-Token-Code: feed5ec2e7ab' https://a",
    'Authorization: Basic feed5ec2e7ab==',
    '{"headers":{"authorization":"Bearer feed5ec2e7ab"},"status":1}',
    'MEETING_TOKEN=feed5ec2e7ab',
    'Environment="ZEROFORCE_SSH_TOKEN=feed5ec2e7ab"',
    '{"token": "feed5ec2e7ab", "name": "a"}',
    JSON.stringify(JSON.stringify({ token_code: 'feed5ec2e7ab' })),
    'https://a/b?token=feed5ec2e7ab&x=1',
    'https://user:feed5ec2e7ab@host/',
    'tunnel-agent --token feed5ec2e7ab run',
    'password: feed5ec2e7ab',
    'psk="feed5ec2e7ab"',
    'ZEROFORCE_PIN=feed5ec2e7ab',
    "'verifier': 'feed5ec2e7ab'",
  ]) {
    const out = redact(text);
    t.notMatch(out, /feed5ec2e7ab/, text);
    t.match(out, /\[secret\]/, text);
  }
  t.equal(redact('{"token":"a-b","name":"raspi"}'), '{"token":"[secret]","name":"raspi"}', 'and no more than that');
});

t.test('unknown secrets are known by their shape', async (t) => {
  const base32 = 'MFRGGZDFMZTWQ2LKNNWG23TPOBYXE43UOV3HO6DZPJQWEY3EMVTA';
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  const body = pem.split('\n').slice(1, -2);
  for (const text of [
    `ssh://${base32}@gateway`,
    `ssh -p 2222 ${base32}@gateway`,
    `%3A${base32}`,
    base32.toLowerCase(),
    'hash $6$saltsalt$abcdefghijk:1',
    randomBytes(60).toString('base64'),
    'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln',
  ]) {
    t.match(redact(`a ${text} b`), /^a .*\[(secret|base64, \d+ characters)\].* b$/, text);
    t.ok(redact(text).length < text.length, text);
  }
  for (const [name, text] of Object.entries({
    whole: pem,
    'in JSON': JSON.stringify({ key: pem }),
    'of a log': pem.replace(/^/gm, 'Nov 21 12:00:00 raspi app[1]: '),
    'without its end': pem.split('\n').slice(0, 9).join('\n'),
    'without its beginning': pem.split('\n').slice(5).join('\n'),
  })) {
    const out = redact(`before\n${text}\nafter`);
    for (const line of body) t.notOk(out.includes(line), name);
    t.match(out, /^before\n[\s\S]*\n?after$/, name);
  }
});

t.test('a value that becomes JSON stays JSON, whatever the secret is', async (t) => {
  const redactor = new Redactor(['true', '12345', 'raspi"x']);
  const value = { pin: { set: true, failuresLeft: 20 }, token: 'a', list: ['raspi"x', 12345, true, null], n: 7 };
  t.strictSame(redactor.json(value), {
    pin: { set: true, failuresLeft: 20 },
    token: '[secret]',
    list: ['[secret]', '[secret]', true, null],
    n: 7,
  });
});

t.test('a very short secret is taken out where it is a word', async (t) => {
  t.equal(redact('a1 is a1b or xa1, token a1', ['a1']), '[secret] is a1b or xa1, token [secret]');
});

t.test('long and hostile text takes no long time', async (t) => {
  const redactor = new Redactor(Array.from({ length: 20 }, () => randomBytes(24).toString('base64')));
  for (const text of [
    'a',
    '-a',
    'token',
    '=',
    '://',
    '\n',
    '"token":"',
    '-----BEGIN PRIVATE KEY',
    'eyJ',
    '[{(',
    'A2',
  ]) {
    const start = performance.now();
    redactor.text(text.repeat(200_000 / text.length));
    t.ok(performance.now() - start < 8_000, JSON.stringify(text));
  }
});

t.test('what a file names as its secrets', async (t) => {
  t.strictSame(secretsInJson({ meeting: { token: 't1', tokenFile: '/a' }, list: [{ password: 12345 }], pin: true }), [
    't1',
    '12345',
  ]);
  t.strictSame(namedSecrets('MEETING_TOKEN=t1\nexport GATEWAY_ADMIN_TOKEN="t 2"\n{"token_code": "t3", broken'), [
    't1',
    't 2',
    't3',
  ]);
  t.strictSame(secretFilesNamed('MEETING_TOKEN_FILE=/a/b\n"tokenFile": "/c"'), ['/a/b', '/c']);
});

t.test('a text is cut between lines, and says so', async (t) => {
  t.equal(cut('a\nb\n', 10, 'start'), 'a\nb\n');
  t.equal(cut('one\ntwo\nthree\n', 9, 'start'), 'one\ntwo\n[5 bytes left out]\n');
  t.equal(cut('one\ntwo\nthree\n', 9, 'end'), '[5 bytes left out]\nthree\n');
});

t.test('the table of contents names what is there and what is not', async (t) => {
  const entries = [
    { name: 'a.txt', about: 'something', text: 'xyz', lacks: [] },
    { name: 'b.txt', about: 'nothing', text: '', lacks: ['b: no such file'] },
  ];
  const known = { device: 'raspi', version: '1.0.0', writtenAt: 'now', isRoot: false };
  const text = manifestText(entries, known);
  t.match(text, / {2}a\.txt +3 {2}something\n/);
  t.match(text, /Could not be had:\n {2}b\.txt: b: no such file\n/);
  t.match(text, /run it as root/);
  t.match(manifestText([], { ...known, isRoot: true }), /nothing is missing/);
});
