import t from 'tap';
import {
  encodeAccepted,
  encodeRefused,
  type FirstLine,
  HELLO_MAX_BYTES,
  HelloReader,
} from '../../../src/gateway/agents/hello.ts';
import { ReplyReader } from '../../../src/protocol/handshake.ts';

const KEY = '3316a52eb08837267bf6bd3e2b2e8dc7';

function read(...chunks: (string | Uint8Array)[]): FirstLine | null {
  const reader = new HelloReader();
  for (const chunk of chunks) {
    const line = reader.push(Buffer.from(chunk));
    if (line !== null) return line;
  }
  return null;
}

const refusal = (line: FirstLine | null) => (line !== null && 'none' in line ? line.none : null);
const accepted = (line: FirstLine | null) => (line !== null && 'hello' in line ? line.hello : null);

t.test('the hello of deployed agents is read under any chunking', async (t) => {
  const line = `{"token":"5ec2e7","name":"${KEY}"}\n`;
  for (const size of [1, 2, 7, line.length]) {
    const chunks: string[] = [];
    for (let at = 0; at < line.length; at += size) chunks.push(line.slice(at, at + size));
    t.same(accepted(read(...chunks)), { token: '5ec2e7', deviceKey: KEY }, `${size} bytes at a time`);
  }
});

t.test('bytes behind the line are kept: frames already', async (t) => {
  const frames = Buffer.from([0x58, 0, 0, 0, 0, 0, 0, 0, 2, 0x7b, 0x7d, 0x0a]);
  const chunk = Buffer.concat([Buffer.from(`{"token":"a","name":"b"}\n`), frames]);
  const line = read(chunk);
  chunk.fill(0); // the buffer belongs to the reader of the socket
  t.same(line !== null && 'rest' in line && line.rest, frames);
});

t.test('what does no harm is tolerated', async (t) => {
  for (const text of [
    '{"name":"b","token":"a"}\r\n',
    ' { "token" : "a" , "name" : "b" } \n',
    '{"token":"a","name":"b","version":{"agent":"2.0","list":[1,2]}}\n',
    '{"\\u0074oken":"a","name":"b"}\n',
  ]) {
    t.same(accepted(read(text)), { token: 'a', deviceKey: 'b' }, text);
  }
});

t.test('everything else is refused, with a reason that quotes nothing', async (t) => {
  const long = 'x'.repeat(300);
  for (const text of [
    '',
    '   ',
    'hello',
    'null',
    '1',
    '"token"',
    '[]',
    `[{"token":"secret","name":"b"}]`,
    '{}',
    '{"token":"secret"}',
    '{"name":"secret"}',
    '{"token":"","name":"secret"}',
    '{"token":1,"name":"secret"}',
    '{"token":["secret"],"name":"b"}',
    '{"token":{"secret":1},"name":"b"}',
    '{"token":null,"name":"secret"}',
    '{"token":"secret","name":7}',
    '{"token":"secret","name":""}',
    '{"token":"secret","name":"../../etc/passwd"}',
    '{"token":"secret","name":"a b"}',
    '{"token":"secret","name":"ä"}',
    '{"token":"secret","name":"-rf"}',
    `{"token":"secret","name":"${'k'.repeat(65)}"}`,
    `{"token":"secret${long}","name":"b"}`,
    '{"token":"secret","token":"a","name":"b"}',
    '{"token":"secret","\\u0074oken":"a","name":"b"}',
    '{"token":"a","name":"b","more":{"secret":1,"secret":2}}',
    '{"__proto__":{"token":"secret","name":"b"}}',
    '{"__proto__":{"x":1},"token":"secret","name":"b"}',
    '{"token":"secret","name":"b"',
    '{"token":"secret","name":"b"}}',
    '{"token":"secret","name":"b"}x',
    `{"token":"secret","name":"b","deep":${'['.repeat(200)}${']'.repeat(200)}}`,
    "{'token':'secret','name':'b'}",
  ]) {
    const none = refusal(read(`${text}\n`));
    t.equal(none?.what, 'other', text.slice(0, 60));
    t.notMatch(none?.reason ?? '', /secret/);
  }
  t.match(refusal(read(Buffer.from([0x7b, 0xff, 0xfe, 0x0a]))), { reason: 'the first line is not UTF-8' });
});

t.test('a line that has no end is refused as soon as it is too long, and costs no memory', async (t) => {
  const reader = new HelloReader();
  t.equal(reader.push(Buffer.alloc(HELLO_MAX_BYTES, 0x7b)), null);
  t.match(reader.push(Buffer.alloc(10 * 1024 * 1024, 0x7b)), { none: { reason: /no end within 4096 bytes/ } });
  t.ok(reader.length <= HELLO_MAX_BYTES + 1);
  const padded = `{"token":"a","name":"b"${' '.repeat(HELLO_MAX_BYTES)}}\n`;
  t.match(read(padded), { none: { reason: /no end within/ } }, 'with its end in the same chunk, too');
});

t.test('protocols that call on the wrong port are named by their first bytes', async (t) => {
  const cases: [string, string | Uint8Array][] = [
    ['tls', [0x16, 0x03] as unknown as Uint8Array],
    ['http', 'GET / HTTP/1.1\r\n'],
    ['http', 'OPTIONS '],
    ['http', 'PRI * HTTP/2.0'],
    ['ssh', 'SSH-2.0-OpenSSH_9.2'],
  ];
  for (const [what, bytes] of cases) {
    t.equal(refusal(read(bytes))?.what, what, what);
    t.equal(
      refusal(read(...Array.from(Buffer.from(bytes), (byte) => Buffer.from([byte]))))?.what,
      what,
      'byte by byte',
    );
  }
  t.equal(read('G'), null, 'one letter says nothing yet');
});

t.test("the agent's own reader understands our answers", async (t) => {
  t.match(new ReplyReader().push(encodeAccepted(KEY)), { reply: { kind: 'accepted', deviceKey: KEY, v1: true } });
  t.equal(encodeAccepted('k').toString(), '{"status":"authenticated","device_key":"k","ext":{"v":1}}\n');
  t.equal(encodeRefused('the "reason"').toString(), '{"error":"auth_failed","reason":"the \\"reason\\""}\n');
  t.match(new ReplyReader().push(encodeRefused('paused')), {
    reply: { kind: 'refused', reason: 'auth_failed: paused' },
  });
});
