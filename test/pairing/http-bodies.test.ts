import { gzipSync } from 'node:zlib';
import t from 'tap';
import { startPairingApp } from '../support/pairing-app.ts';
import { freshKeyLine, freshRsaKeyLine } from '../support/public-keys.ts';

const SETKEY = '/zeroforce/setkey';
const LIMIT = 16 * 1024;
const line = freshKeyLine();
const rsaLine = freshRsaKeyLine();

const FORM = 'application/x-www-form-urlencoded';
const BOUNDARY = 'x-boundary-x';
const MULTIPART = `multipart/form-data; boundary=${BOUNDARY}`;

/** A multipart body of parts, each its header lines after the first and its content. */
const parts = (...list: [disposition: string, content: string, ...more: string[]][]) =>
  `${list
    .map(
      ([disposition, content, ...more]) =>
        `--${BOUNDARY}\r\nContent-Disposition: form-data; ${[disposition, ...more].join('\r\n')}\r\n\r\n${content}\r\n`,
    )
    .join('')}--${BOUNDARY}--\r\n`;

type Row = [name: string, type: string | null, body: string | Buffer, words?: RegExp];

const ACCEPTED: Row[] = [
  ['a form', FORM, `key=${encodeURIComponent(rsaLine)}`],
  ['a form with white space around the key', FORM, `key=${encodeURIComponent(` \t${rsaLine}\r\n\n`)}`],
  ['a form as Python writes it', FORM, new URLSearchParams({ key: rsaLine }).toString()],
  ['a form with its charset', `${FORM}; charset=UTF-8`, `key=${encodeURIComponent(rsaLine)}`],
  ['a form with a quoted charset', `${FORM};charset="utf-8"`, `key=${encodeURIComponent(rsaLine)}`],
  ['a form whose type is in capitals', 'Application/X-WWW-Form-URLEncoded', `key=${encodeURIComponent(rsaLine)}`],
  ['a form with further fields', FORM, `name=x&key=${encodeURIComponent(rsaLine)}&Key=y&key2=z`],
  ['JSON', 'application/json', JSON.stringify({ key: rsaLine })],
  ['JSON with its charset', 'application/json; charset=utf-8', JSON.stringify({ key: `${rsaLine}\n` }, null, 2)],
  ['JSON with escapes', 'application/json', `{"\\u006bey":${JSON.stringify(rsaLine).replaceAll('/', '\\/')}}`],
  [
    'JSON with further members, one called key deeper down, one whose value is "key"',
    'application/json',
    JSON.stringify({ a: { key: 'x' }, b: [{ key: 1 }], c: 'key', 'd"key': 'key', key: rsaLine }),
  ],
  ['multipart', MULTIPART, parts(['name="key"', rsaLine])],
  ['multipart with a quoted boundary', `multipart/form-data; boundary="${BOUNDARY}"`, parts(['name="key"', rsaLine])],
  [
    'multipart with a type of the part, and another field',
    MULTIPART,
    parts(['name="x"', '1'], ['name="key"', `${rsaLine}\n`, 'Content-Type: text/plain; charset=utf-8']),
  ],
  ['multipart, with a preamble', MULTIPART, `hello\r\n${parts(['name="key"', rsaLine])}`],
];

t.test('every way to send the key is understood', async (t) => {
  const { ask, pairing } = await startPairingApp(t);
  for (const [name, type, body] of ACCEPTED) {
    const answer = await ask(SETKEY, { method: 'POST', body, headers: { 'Content-Type': type! } });
    t.match(answer, { status: 200, body: '{"ok":true}' }, name);
    t.equal(pairing.keys.pop()?.text, rsaLine, `${name}: the key arrived whole`);
  }
});

const BAD_REQUEST: Row[] = [
  ['an empty form', FORM, '', /missing/],
  ['a form without the field', FORM, 'clef=x', /missing/],
  ['a field in capitals', FORM, `KEY=${encodeURIComponent(line)}`, /missing/],
  ['a form with the field twice', FORM, `key=${encodeURIComponent(line)}&key=${encodeURIComponent(line)}`, /more than/],
  ['a form with an array', FORM, `key[]=${encodeURIComponent(line)}`, /missing/],
  ['a form with a nested field', FORM, `key[a]=${encodeURIComponent(line)}`, /missing/],
  ['a form that is not UTF-8', FORM, `key=${encodeURIComponent(line)}%FF`, /UTF-8/],
  ['a form with raw bytes', FORM, Buffer.concat([Buffer.from(`key=${line}`), Buffer.from([0xe4])]), /UTF-8/],
  ['a form with NUL', FORM, `key=${encodeURIComponent(line)}%00`, /U\+0000/],
  ['a form whose + is not escaped', FORM, `key=${rsaLine}`, /%2B|comment|ends/],
  ['empty JSON', 'application/json', '', /broken/],
  ['broken JSON', 'application/json', '{"key":', /broken/],
  ['JSON with something behind', 'application/json', '{"key":"x"} x', /broken/],
  ['JSON null', 'application/json', 'null', /object/],
  ['a JSON list', 'application/json', JSON.stringify([line]), /object/],
  ['a JSON string', 'application/json', JSON.stringify(line), /object/],
  ['a JSON number', 'application/json', '1', /object/],
  ['JSON without the field', 'application/json', '{}', /missing/],
  ['an inherited field', 'application/json', '{"__proto__":{"key":"x"}}', /missing/],
  ['JSON with the field twice', 'application/json', `{"key":"x","key":${JSON.stringify(line)}}`, /more than/],
  ['JSON twice, once escaped', 'application/json', `{"key":${JSON.stringify(line)},"\\u006bey" : 1}`, /more than/],
  ['a number', 'application/json', '{"key":7}', /not a text/],
  ['null', 'application/json', '{"key":null}', /not a text/],
  ['true', 'application/json', '{"key":true}', /not a text/],
  ['a list with the key', 'application/json', JSON.stringify({ key: [line] }), /not a text/],
  ['an object', 'application/json', JSON.stringify({ key: { key: line } }), /not a text/],
  ['an empty text', 'application/json', '{"key":""}', /empty/],
  ['a line separator', 'application/json', JSON.stringify({ key: `${line}\u2028x` }), /U\+2028/],
  ['half a character', 'application/json', `{"key":"${line}\\ud800"}`, /U\+D800/],
  ['very deep JSON', 'application/json', '['.repeat(8_000) + ']'.repeat(8_000), /object/],
  ['multipart without the field', MULTIPART, parts(['name="x"', line]), /missing/],
  ['multipart with no part', MULTIPART, `--${BOUNDARY}--\r\n`, /./],
  ['multipart with the field twice', MULTIPART, parts(['name="key"', line], ['name="key"', line]), /more than/],
  ['multipart with a nested field', MULTIPART, parts(['name="key[a]"', line]), /not a text/],
  ['multipart with the key as a file', MULTIPART, parts(['name="key"; filename="id.pub"', line]), /not as a file/],
  ['multipart with a file besides', MULTIPART, parts(['name="key"', line], ['name="f"; filename="x"', 'x']), /file/],
  ['multipart cut off', MULTIPART, parts(['name="key"', line]).slice(0, -12), /broken/],
  ['multipart with broken headers', MULTIPART, `--${BOUNDARY}\r\n\x00: x\r\n\r\nx\r\n--${BOUNDARY}--`, /broken/],
  ['multipart without a boundary', 'multipart/form-data', parts(['name="key"', line]), /broken/],
  ['multipart with another boundary', 'multipart/form-data; boundary=y', parts(['name="key"', line]), /broken/],
  [
    'multipart with very many parts',
    MULTIPART,
    parts(...Array.from({ length: 40 }, (_, n): [string, string] => [`name="f${n}"`, ''])),
    /too many/,
  ],
  ['multipart with a name that is none', MULTIPART, parts(['name="__proto__[key]"', line]), /missing/],
];

t.test('every body without exactly one key is 400 and says why', async (t) => {
  for (const [name, type, body, words] of BAD_REQUEST) {
    const { ask, pairing } = await startPairingApp(t); // one each: the rate limit is not meant here
    const answer = await ask(SETKEY, { method: 'POST', body, headers: { 'Content-Type': type! } });
    t.equal(answer.status, 400, name);
    const { ok, error } = JSON.parse(answer.body);
    t.equal(ok, false, name);
    t.match(error, words, name);
    t.same(pairing.keys, []);
  }
});

t.test('a media type that is not ours, or has to be unpacked, is 415', async (t) => {
  const { ask, pairing } = await startPairingApp(t);
  const good = `key=${encodeURIComponent(line)}`;
  const json = JSON.stringify({ key: line });
  const rows: [Record<string, string | string[]>, string | Buffer][] = [
    [{}, good],
    [{}, ''],
    [{ 'Content-Type': '' }, good],
    [{ 'Content-Type': 'text/plain' }, json],
    [{ 'Content-Type': 'text/plain' }, line],
    [{ 'Content-Type': 'application/xml' }, '<key/>'],
    [{ 'Content-Type': 'application/json2' }, json],
    [{ 'Content-Type': 'application/vnd.api+json' }, json],
    [{ 'Content-Type': 'application/json, text/plain' }, json],
    [{ 'Content-Type': 'toString' }, json],
    [{ 'Content-Type': `${FORM}; charset=iso-8859-1` }, good],
    [{ 'Content-Type': 'application/json; charset=utf-16le' }, Buffer.from(json, 'utf16le')],
    [{ 'Content-Type': 'multipart/mixed; boundary=x' }, '--x--'],
    [{ 'Content-Type': 'application/json', 'Content-Encoding': 'gzip' }, gzipSync(json)],
    [{ 'Content-Type': FORM, 'Content-Encoding': 'br' }, good],
    [{ 'Content-Type': 'application/json', 'Content-Encoding': 'identity, gzip' }, gzipSync(json)],
  ];
  for (const [headers, body] of rows) {
    const answer = await ask(SETKEY, { method: 'POST', body, headers });
    t.equal(answer.status, 415, JSON.stringify(headers));
    t.match(JSON.parse(answer.body), { ok: false, error: String });
  }
  t.same(pairing.keys, []);
  const identity = { 'Content-Type': FORM, 'Content-Encoding': 'identity' };
  t.equal((await ask(SETKEY, { method: 'POST', body: good, headers: identity })).status, 200);
});

t.test('two types in one request are 415: it is not ours to choose', async (t) => {
  const { raw } = await startPairingApp(t);
  const body = JSON.stringify({ key: line });
  const answer = await raw(
    `POST ${SETKEY} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n` +
      `Content-Type: ${FORM}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  );
  t.match(answer, /^HTTP\/1\.1 415 /);
});

/** A form of exactly this size whose key is good. */
const formOf = (bytes: number) => {
  const start = `key=${encodeURIComponent(line)}&filler=`;
  return start + 'x'.repeat(bytes - start.length);
};

t.test('a body is taken up to 16 KiB, and is 413 from one byte more, stated or chunked', async (t) => {
  const { ask } = await startPairingApp(t);
  for (const chunked of [false, true]) {
    for (const [bytes, status] of [
      [LIMIT, 200],
      [LIMIT + 1, 413],
      [100 * 1024, 413],
    ] as const) {
      const body = formOf(bytes);
      const headers = {
        'Content-Type': FORM,
        ...(chunked ? { 'Transfer-Encoding': 'chunked' } : { 'Content-Length': bytes }),
      };
      const answer = await ask(SETKEY, { method: 'POST', body, headers });
      t.equal(answer.status, status, `${bytes} bytes, ${chunked ? 'chunked' : 'stated'}`);
      t.match(JSON.parse(answer.body), status === 200 ? { ok: true } : { ok: false, error: /16384/ });
    }
  }
});

t.test('the same limit holds for JSON and multipart', async (t) => {
  const { ask } = await startPairingApp(t);
  const filler = 'x'.repeat(LIMIT);
  for (const [type, body] of [
    ['application/json', JSON.stringify({ key: line, filler })],
    [MULTIPART, parts(['name="key"', line], ['name="filler"', filler])],
  ] as const) {
    t.equal((await ask(SETKEY, { method: 'POST', body, headers: { 'Content-Type': type } })).status, 413, type);
  }
});
