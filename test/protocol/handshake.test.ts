import fc from 'fast-check';
import t from 'tap';
import { encodeHello, type Reply, ReplyReader } from '../../src/protocol/handshake.ts';
import { frame, hex, u16 } from './helpers.ts';

function read(text: string | Uint8Array): Reply | null {
  return new ReplyReader().push(Buffer.from(text))?.reply ?? null;
}

t.test('the hello has exactly the two keys in their order and a line end', async (t) => {
  const deviceKey = '0123456789ABCDEF0123456789ABCDEF';
  t.equal(encodeHello({ token: '41e291', deviceKey }).toString(), `{"token":"41e291","name":"${deviceKey}"}\n`);
  t.equal(
    encodeHello({ token: '"\n', deviceKey: 'é' }).toString(),
    '{"token":"\\"\\n","name":"é"}\n',
    'one line always',
  );
});

t.test('accepting replies', async (t) => {
  const accepted = { kind: 'accepted', deviceKey: null, v1: false };
  t.same(read('{"status":"authenticated","device_key":"AB"}\n'), { ...accepted, deviceKey: 'AB' });
  t.same(read('{"status":"ok"}\n'), accepted);
  t.same(read('{"status":"OK"}\r\n'), accepted);
  t.same(read(' {"status" : "Ok", "extra":{"a":[1]}, "device_key":7} \r\n'), accepted);
  t.same(read('{"status":"ok","ext":{"v":1}}\n'), { ...accepted, v1: true });
  for (const ext of ['1', 'null', '[]', '{"v":2}', '{"v":"1"}', '{"v":true}', '{}']) {
    t.same(read(`{"status":"ok","ext":${ext}}\n`), accepted, `ext ${ext} offers nothing`);
  }
});

t.test('the three shapes of refusal, each with its reason', async (t) => {
  t.same(read('{"status":"error","message":"unknown device"}\n'), { kind: 'refused', reason: 'unknown device' });
  t.same(read('{"status":"error","error":"bad token"}\n'), { kind: 'refused', reason: 'bad token' });
  t.same(read('{"error":"auth_failed","reason":"revoked"}\n'), { kind: 'refused', reason: 'auth_failed: revoked' });
  t.same(read('{"status":"denied"}\n'), { kind: 'refused', reason: 'status "denied", no reason' });
});

t.test('nothing else is ever an acceptance', async (t) => {
  const never: (string | Uint8Array)[] = [
    '\n',
    '\r\n',
    '   \n',
    'ok\n',
    '"ok"\n',
    'true\n',
    'null\n',
    '1\n',
    '[]\n',
    '["ok"]\n',
    '[{"status":"ok"}]\n',
    '{}\n',
    '{"status":true}\n',
    '{"status":1}\n',
    '{"status":null}\n',
    '{"status":["ok"]}\n',
    '{"status":{"status":"ok"}}\n',
    '{"Status":"ok"}\n',
    '{"status":"okay"}\n',
    '{"status":" ok"}\n',
    '{"status":""}\n',
    '{"__proto__":{"status":"ok"}}\n',
    '{"constructor":{"prototype":{"status":"ok"}}}\n',
    '{"status":"ok"\n',
    "{'status':'ok'}\n",
    '{"status":"ok"}{"status":"ok"}\n',
    '\ufeff{"status":"ok"}\n',
    Buffer.concat([Buffer.from('{"status":"ok","x":"'), hex('ff'), Buffer.from('"}\n')]),
    Buffer.concat([Buffer.from('{"status":"o'), hex('c1ab'), Buffer.from('"}\n')]),
  ];
  for (const text of never) {
    const reply = read(text);
    t.ok(reply !== null && reply.kind !== 'accepted', JSON.stringify(Buffer.from(text).toString()));
  }
  t.equal(({} as { status?: string }).status, undefined, 'no prototype was touched');
});

t.test('what else may answer on a port is named by its first bytes, before any line end', async (t) => {
  const what = (bytes: Uint8Array | string) => {
    const reply = read(bytes);
    return reply?.kind === 'not-protocol' ? reply.what : reply;
  };
  t.equal(what(hex('15')), 'tls', 'an alert');
  t.equal(what(hex('16 0301')), 'tls', 'a handshake record');
  t.equal(what('HTTP/'), 'http');
  t.equal(what('SSH-'), 'ssh');
  t.equal(what(frame('N', 1, u16(22))), 'frames');
  t.equal(what(hex('44 00')), 'frames');
  t.equal(what('HTT'), null, 'too early to tell');
  t.equal(what('220 mail ready\r\n'), 'other');
  t.equal(what('Denied\n'), 'other', 'a text that begins like a frame is none');
});

t.test('a reply over 4 KiB is none, with or without its line end', async (t) => {
  const long = (length: number) => `{"status":"ok","x":"${'y'.repeat(length - 22)}"}`;
  t.equal(long(4096).length, 4096);
  t.equal(read(`${long(4096)}\n`)?.kind, 'accepted');
  t.match(read(`${long(4097)}\n`), { kind: 'not-protocol', what: 'other', sentence: /4096 bytes/ });

  const reader = new ReplyReader();
  for (let sent = 0; sent < 4096; sent += 64) t.equal(reader.push(Buffer.alloc(64, ' ')), null);
  t.match(reader.push(Buffer.from(' '))?.reply, { kind: 'not-protocol', what: 'other' });
});

t.test('bytes behind the line are handed on, and are a copy', async (t) => {
  const behind = Buffer.concat([frame('N', 1, u16(22)), frame('D', 1, 'a\nb')]);
  const chunk = Buffer.concat([Buffer.from('{"status":"ok"}\n'), behind]);
  const result = new ReplyReader().push(chunk);
  chunk.fill(0);
  t.equal(result?.rest.toString('hex'), behind.toString('hex'));
});

t.test('property: the reply does not depend on its chunks', async () => {
  const text = '{"status":"authenticated","device_key":"é€","ext":{"v":1}}\r\n';
  const bytes = Buffer.concat([Buffer.from(text), frame('N', 1, u16(22))]);
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 20 }), { maxLength: 80 }), (sizes) => {
      const reader = new ReplyReader();
      let at = 0;
      for (const size of [...sizes, bytes.length]) {
        const chunk = bytes.subarray(at, at + size);
        at += chunk.length;
        const result = reader.push(chunk);
        if (result === null) continue;
        return (
          JSON.stringify(result.reply) === '{"kind":"accepted","deviceKey":"é€","v1":true}' &&
          Buffer.concat([result.rest, bytes.subarray(at)]).equals(frame('N', 1, u16(22)))
        );
      }
      return false;
    }),
    { numRuns: 100 },
  );
});

t.test('a refusal is fit for a log: one line, bounded, and without our token', async (t) => {
  const reader = new ReplyReader('41e291');
  const message = 'token 41e291\\u0000\\n\\u001b[31m\\u2028\\u202e\\ud800 refused';
  t.same(reader.push(Buffer.from(`{"status":"error","message":"${message}"}\n`))?.reply, {
    kind: 'refused',
    reason: 'token [secret] [31m  refused',
  });
  const long = read(`{"status":"error","message":"${'x'.repeat(3000)}"}\n`);
  t.equal(long?.kind === 'refused' && long.reason.length, 201);
  const deep = read(`{"error":${'['.repeat(2000)}${']'.repeat(2000)}}\n`);
  t.equal(deep?.kind, 'refused');
});

t.test('a peer that closes early: silence is its own case, a half reply is never an acceptance', async (t) => {
  t.equal(new ReplyReader().closed(), null);
  const cut = new ReplyReader();
  cut.push(Buffer.from('{"status":"ok"}'));
  t.match(cut.closed(), { kind: 'not-protocol', what: 'other', sentence: /closed before the end/ });
  const refusal = new ReplyReader();
  refusal.push(Buffer.from('{"error":"auth_failed"}'));
  t.same(refusal.closed(), { kind: 'refused', reason: 'auth_failed' });
  const half = new ReplyReader();
  half.push(Buffer.from('{"sta'));
  t.match(half.closed(), { kind: 'not-protocol', what: 'other', sentence: /not JSON/ });
});
