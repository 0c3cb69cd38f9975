import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type AuditRecord, AuditRing } from '../../src/pairing/audit.ts';
import { testLog } from '../support/test-log.ts';

const RING_BYTES = 64 * 1024;
const FINGERPRINT = `SHA256:${'a'.repeat(43)}`;

function ring(t: Test, stateDir = join(t.testdir(), 'state')) {
  const { log, lines } = testLog();
  let uptimeMs = 0;
  const stamp = async () => {
    uptimeMs += 1;
    return { time: '1970-01-01T00:00:00.000Z', bootId: 'b', uptimeMs };
  };
  const young = join(stateDir, 'audit.log');
  return { audit: new AuditRing({ stateDir, log, stamp }), stateDir, young, lines };
}

const sources = (records: AuditRecord[]) => records.map(({ source }) => source);

t.test('a record tells what, which key, from where, which boot and when', async (t) => {
  const stateDir = join(t.testdir(), 'deep', 'state');
  const audit = new AuditRing({ stateDir, log: testLog().log });
  const earliestMs = performance.timeOrigin;
  await audit.record({ what: 'key-set', fingerprint: FINGERPRINT, source: '192.0.2.7' });
  await audit.record({ what: 'reset', source: 'button' });
  const records = await audit.read();
  t.match(records, [
    { what: 'key-set', fingerprint: FINGERPRINT, source: '192.0.2.7' },
    { what: 'reset', source: 'button' },
  ]);
  t.notOk('fingerprint' in (records[1] ?? {}));
  const systemUptimeMs = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1000;
  for (const { bootId, uptimeMs, time } of records) {
    t.equal(bootId, readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim());
    t.ok(uptimeMs > 0 && uptimeMs <= systemUptimeMs + 20, `${uptimeMs} ms of ${systemUptimeMs}`);
    t.ok(Date.parse(time) >= earliestMs - 1000);
  }
  t.equal(statSync(join(stateDir, 'audit.log')).mode & 0o777, 0o600);
  t.equal(statSync(stateDir).mode & 0o777, 0o700);
});

t.test('nothing on record: an empty list, and reading writes nothing', async (t) => {
  const { audit, stateDir } = ring(t);
  t.strictSame(await audit.read(), []);
  t.throws(() => statSync(stateDir), { code: 'ENOENT' });
});

t.test('records at the same time are kept in the order of the calls', async (t) => {
  const { audit } = ring(t);
  const names = Array.from({ length: 50 }, (_, index) => String(index));
  await Promise.all(names.map((source) => audit.record({ what: 'key-set', source })));
  t.strictSame(sources(await audit.read()), names);
});

t.test('never more than 64 KiB on the disk; the oldest go, the order stays', async (t) => {
  const { audit, stateDir } = ring(t);
  const total = 900;
  for (let count = 0; count < total; count += 1) {
    await audit.record({ what: 'key-set', fingerprint: FINGERPRINT, source: String(count) });
    if (count % 25 !== 0) continue;
    const sizes = readdirSync(stateDir).map((name) => statSync(join(stateDir, name)).size);
    t.ok(sizes.length <= 2 && sizes.reduce((sum, size) => sum + size, 0) <= RING_BYTES, String(sizes));
  }
  const kept = sources(await audit.read()).map(Number);
  t.ok(kept.length >= 150 && kept.length < total, `${kept.length} are kept`);
  t.strictSame(
    kept,
    kept.map((_, index) => total - kept.length + index),
    'the newest, without a gap',
  );
});

t.test('a record costs an append, not a new file', async (t) => {
  const { audit, young } = ring(t);
  await audit.record({ what: 'opened', source: 'local' });
  const { ino, size } = statSync(young);
  await audit.record({ what: 'opened', source: 'local' });
  t.equal(statSync(young).ino, ino);
  t.ok(statSync(young).size - size < 200);
});

t.test('cut anywhere in the last line: the lines before it stay, and the next record is whole', async (t) => {
  const { audit, young } = ring(t);
  await audit.record({ what: 'key-set', source: 'first' });
  const first = readFileSync(young);
  await audit.record({ what: 'key-set', source: 'second' });
  const whole = readFileSync(young);
  for (let cut = first.length; cut < whole.length; cut += 1) {
    for (const tail of ['', '\0'.repeat(7)]) {
      writeFileSync(young, Buffer.concat([whole.subarray(0, cut), Buffer.from(tail)]));
      await audit.record({ what: 'reset', source: 'third' });
      const read = sources(await audit.read());
      t.equal(read[0], 'first');
      t.equal(read.at(-1), 'third');
      const known = new Set(['first', 'second', 'third']); // the second is whole but for its newline in one case
      t.ok(read.every((source) => known.has(source)) && read.length <= 3, `${cut}: ${read}`);
    }
  }
});

t.test('a hostile source or fingerprint forges no line and no field, and stays bounded', async (t) => {
  const { audit, young } = ring(t);
  const forged = JSON.stringify({ time: 't', bootId: 'b', uptimeMs: 1, what: 'key-set', source: 'forged' });
  const hostile = [
    `x\n${forged}\n`,
    `x\r\n${forged}`,
    `","source":"forged`,
    '\u2028\u0085\u202e\u001b[2Jabc\ud800',
    'y'.repeat(1_000_000),
  ];
  for (const text of hostile) await audit.record({ what: 'key-refused-pin', source: text, fingerprint: text });
  const records = await audit.read();
  t.equal(records.length, hostile.length);
  t.notOk(records.some(({ source, what }) => source === 'forged' || what !== 'key-refused-pin'));
  t.strictSame(
    sources(records),
    hostile.map((text) => text.slice(0, 128)),
  );
  t.match(readFileSync(young, 'latin1'), /^[\n\x20-\x7e]*$/, 'any terminal can show the file');
  t.ok(statSync(young).size < 8 * 1024);
});

t.test('what cannot be written is logged, with the entry, and blocks nobody', async (t) => {
  const { audit, stateDir, lines } = ring(t, join(t.testdir({ file: '' }), 'file'));
  await t.resolves(audit.record({ what: 'pin-set', source: 'local' }));
  t.match(lines, [{ level: 'error', code: 'state.unwritable', what: 'pin-set', source: 'local', msg: /ENOTDIR/ }]);
  await t.rejects(audit.read(), { code: 'state.unreadable', message: /not a directory/ });
  rmSync(stateDir);
  await audit.record({ what: 'pin-removed', source: 'local' });
  t.match(await audit.read(), [{ what: 'pin-removed' }], 'the next one is tried again');
});

t.test('links and folders in its place are neither followed nor removed', async (t) => {
  const folder = t.testdir({ victim: 'precious' });
  for (const obstacle of ['link', 'folder']) {
    const { audit, stateDir, young, lines } = ring(t, join(folder, obstacle));
    mkdirSync(stateDir);
    if (obstacle === 'link') symlinkSync(join(folder, 'victim'), young);
    else mkdirSync(young);
    await audit.record({ what: 'reset', source: 'local' });
    t.match(lines, [{ code: 'state.unwritable' }]);
    await t.rejects(audit.read(), { code: 'state.unreadable' });
  }
  t.equal(readFileSync(join(folder, 'victim'), 'utf8'), 'precious');
});

t.test('a mode that somebody widened is made 0600 again', async (t) => {
  const { audit, young } = ring(t);
  await audit.record({ what: 'opened', source: 'local' });
  chmodSync(young, 0o644);
  await audit.record({ what: 'opened', source: 'local' });
  t.equal(statSync(young).mode & 0o777, 0o600);
});
