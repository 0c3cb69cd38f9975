import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import t from 'tap';
import { Failure } from '../../src/support/failures.ts';
import { gate, pairingService, TIMEOUT_MS } from '../support/pairing-service.ts';
import { proofFor } from '../support/pin-client.ts';
import { freshKeyLine } from '../support/public-keys.ts';

const PIN = '20261121';
const SOURCE = '192.168.1.20';

t.test('a local opening opens plain setkey once, under every policy and within the timeout', async (t) => {
  for (const policy of ['open', 'pin', 'locked'] as const) {
    t.test(policy, async (t) => {
      const { pairing, see, clock, audit, keyFileText } = pairingService(t.testdir(), { policy });
      await pairing.start();
      see('active');
      see('none');
      t.notOk(pairing.isOpen(), 'within the timeout');
      t.same(await pairing.openLocally(), { seconds: 120 });
      t.ok(pairing.isOpen());
      t.match(await pairing.status(), { policy, open: true, opensInSeconds: 0, openedLocally: { secondsLeft: 120 } });
      clock.advance(119_001);
      t.match(await pairing.status(), { openedLocally: { secondsLeft: 1 } });
      const line = freshKeyLine();
      const { fingerprint } = await pairing.setKey(line, SOURCE);
      t.notOk(pairing.isOpen(), 'once');
      t.match(await pairing.status(), { openedLocally: null });
      await t.rejects(pairing.setKey(freshKeyLine(), SOURCE), { code: 'pairing.closed' });
      t.equal(await keyFileText(), `${line}\n`);
      t.same(audit, [
        { what: 'opened', source: 'local' },
        { what: 'key-set', fingerprint, source: SOURCE },
      ]);
      await pairing.stop();
      t.equal(clock.pending, 0);
    });
  }
});

t.test('of two clients in one local opening, the first one pairs', async (t) => {
  const { pairing, keyFileText } = pairingService(t.testdir(), { policy: 'locked' });
  await pairing.start();
  await pairing.openLocally();
  const [first, second] = [freshKeyLine('first'), freshKeyLine('second')];
  const outcomes = await Promise.allSettled([pairing.setKey(first, SOURCE), pairing.setKey(second, '192.168.1.21')]);
  t.match(outcomes, [{ status: 'fulfilled' }, { reason: { code: 'pairing.closed' } }]);
  t.equal(await keyFileText(), `${first}\n`);
  await pairing.stop();
});

t.test('a key that could not be stored does not use up the opening', async (t) => {
  const { pairing, keyPath, keyFileText } = pairingService(t.testdir(), { policy: 'locked' });
  await mkdir(dirname(dirname(keyPath)), { recursive: true });
  await writeFile(dirname(keyPath), 'in the way');
  await pairing.start();
  await pairing.openLocally();
  await t.rejects(pairing.setKey(freshKeyLine(), SOURCE), { code: 'key.unwritable' });
  await t.rejects(pairing.setKey('no key', SOURCE), { code: 'key.invalid' });
  t.ok(pairing.isOpen());
  t.equal(await keyFileText(), null);
  await pairing.stop();
});

t.test('a local opening ends by itself, with a tunnel, and with a fault', async (t) => {
  const { pairing, see, clock, lines } = pairingService(t.testdir(), { policy: 'locked' });
  await pairing.start();
  await pairing.openLocally();
  clock.advance(120_000);
  t.notOk(pairing.isOpen());
  t.same(
    lines.map(({ msg }) => msg).filter((msg) => msg.startsWith('pairing is')),
    ['pairing is open', 'pairing is closed'],
    'the log tells both, though nobody asked',
  );
  for (const kind of ['active', 'fault'] as const) {
    await pairing.openLocally();
    see(kind);
    see('none');
    t.notOk(pairing.isOpen(), kind);
  }
  await pairing.stop();
});

t.test('where a tunnel stands, or nobody can tell, it is refused, with what to do', async (t) => {
  const { pairing, world, audit } = pairingService(t.testdir(), { policy: 'locked' });
  await t.rejects(pairing.openLocally(), { code: 'pairing.tunnel-unknown' }, 'before the start');
  await pairing.start();
  for (const [tunnel, code] of [
    ['active', 'pairing.tunnel-stands'],
    ['fault', 'pairing.tunnel-unknown'],
  ] as const) {
    world.tunnel = tunnel; // nobody has reported it: it looks for itself
    await t.rejects(pairing.openLocally(), { code, message: /^pairing was not opened: /, remedy: /tunnel-agent/ });
    t.notOk(pairing.isOpen());
  }
  t.same(audit, []);
  await pairing.stop();
});

t.test('a PIN and a plain key at once: one after the other, and a local opening ends with either', async (t) => {
  const { pairing, keyFileText, audit } = pairingService(t.testdir(), { policy: 'pin' });
  await pairing.start();
  await pairing.setPin(PIN);
  for (const order of ['PIN first', 'plain first']) {
    await pairing.openLocally();
    const [withPin, plain] = [freshKeyLine('with PIN'), freshKeyLine('plain')];
    const { request } = await proofFor(await pairing.pinChallenge(SOURCE), PIN, withPin);
    audit.length = 0;
    const byPin = () => pairing.setKeyWithPin(request, SOURCE);
    const byHand = () => pairing.setKey(plain, '192.168.1.21');
    const both = order === 'PIN first' ? [byPin(), byHand()] : [byHand(), byPin()];
    const outcomes = (await Promise.allSettled(both)).map(({ status }) => status);
    if (order === 'PIN first') {
      t.same(outcomes, ['fulfilled', 'rejected'], 'the opening was for one key');
    } else {
      t.same(outcomes, ['fulfilled', 'fulfilled'], 'the PIN needs no opening');
      t.match(audit, [{ source: '192.168.1.21' }, { source: SOURCE }]);
    }
    t.equal(await keyFileText(), `${withPin}\n`, order);
  }
  await pairing.stop();
});

t.test('a reset makes a device that was never paired, and keeps the PIN', async (t) => {
  const folder = t.testdir();
  const { pairing, see, keyFileText, marked, pinFileText } = pairingService(folder);
  await pairing.start();
  await pairing.setPin(PIN);
  await pairing.setKey(freshKeyLine(), SOURCE);
  see('active');
  see('none');
  t.notOk(pairing.isOpen());
  const pin = await pinFileText();
  await pairing.reset();
  t.equal(await keyFileText(), null);
  t.notOk(await marked());
  t.equal(await pinFileText(), pin);
  t.ok(pairing.isOpen(), 'at once');
  t.match(await pairing.status(), { everPaired: false, key: null });
  await pairing.stop();

  const restarted = pairingService(folder).pairing;
  await restarted.start();
  t.ok(restarted.isOpen(), 'and after a restart');
  await restarted.reset();
  t.ok(restarted.isOpen(), 'a second one changes nothing');
  await restarted.stop();
});

t.test('a tunnel of the old key keeps pairing closed after a reset, but does not count as paired', async (t) => {
  const { pairing, see, marked } = pairingService(t.testdir(), { tunnel: 'active' });
  await pairing.start();
  await pairing.reset();
  see('active');
  t.notOk(pairing.isOpen());
  t.match(await pairing.status(), { everPaired: false, tunnel: 'active' });
  see('none');
  t.ok(pairing.isOpen(), 'without a timeout');
  see('active');
  see('none');
  t.notOk(pairing.isOpen(), 'the next one counts');
  await pairing.stop();
  t.ok(await marked());
});

t.test('a reset before the start is found by it', async (t) => {
  const folder = t.testdir();
  const before = pairingService(folder);
  await before.pairing.start();
  await before.pairing.setKey(freshKeyLine(), SOURCE);
  await before.pairing.stop();

  const { pairing, keyFileText } = pairingService(folder);
  await pairing.reset();
  t.equal(await keyFileText(), null);
  await pairing.start();
  t.ok(pairing.isOpen());
  await pairing.stop();
});

t.test('a reset in the middle of a setkey comes after it: no key is left', async (t) => {
  const [writing, begun] = [gate(), gate()];
  const { pairing, keyFileText, keyPath, marked } = pairingService(t.testdir(), {
    keyFile: {
      replace: async (key) => {
        begun.open();
        await writing.passed;
        await mkdir(dirname(keyPath), { recursive: true });
        await writeFile(keyPath, `${key.line}\n`);
      },
    },
  });
  await pairing.start();
  const setting = pairing.setKey(freshKeyLine(), SOURCE);
  await begun.passed;
  const resetting = pairing.reset();
  const after = pairing.setKey(freshKeyLine('after the reset'), SOURCE);
  writing.open();
  await t.resolves(setting, 'it was allowed');
  await resetting;
  await after;
  t.match(await keyFileText(), /after the reset/, 'a client after the reset pairs again');
  t.ok(await marked());
  await pairing.reset();
  t.equal(await keyFileText(), null);
  t.notOk(await marked());
  await pairing.stop();
});

t.test('a proof that waits behind a reset is about a challenge that is over', async (t) => {
  const { pairing, keyFileText } = pairingService(t.testdir(), { policy: 'pin' });
  await pairing.start();
  await pairing.setPin(PIN);
  const { request } = await proofFor(await pairing.pinChallenge(SOURCE), PIN, freshKeyLine());
  const resetting = pairing.reset();
  await t.rejects(pairing.setKeyWithPin(request, SOURCE), { code: 'pairing.pin-challenge' });
  await resetting;
  t.equal(await keyFileText(), null);
  await pairing.stop();
});

t.test('a marker that was owed before a reset is not written after it', async (t) => {
  const removing = gate();
  const { pairing, see, marked } = pairingService(t.testdir(), { keyFile: { remove: () => removing.passed } });
  await pairing.start();
  const resetting = pairing.reset();
  see('active'); // its marker waits behind the reset
  see('none');
  removing.open();
  await resetting;
  await pairing.stop();
  t.notOk(await marked());
});

t.test('a reset that fails half-way leaves nobody in and nobody out', async (t) => {
  const broken = (step: string) => async () => {
    throw new Failure(step === 'key' ? 'key.unwritable' : 'state.unwritable', `${step} fails`);
  };
  for (const step of ['key', 'PIN', 'marker']) {
    t.test(step, async (t) => {
      const folder = t.testdir();
      const before = pairingService(folder);
      await before.pairing.start();
      await before.pairing.setKey(freshKeyLine(), SOURCE);
      await before.pairing.setPin(PIN);
      await before.pairing.stop();

      const { pairing, keyFileText, clock } = pairingService(folder, {
        ...(step === 'key' ? { keyFile: { remove: broken(step) } } : {}),
        ...(step === 'PIN' ? { pinFile: { read: async () => ({ ...STORED, failures: 3 }), write: broken(step) } } : {}),
        ...(step === 'marker' ? { everPaired: { forget: broken(step) } } : {}),
      });
      await pairing.start();
      await t.rejects(pairing.reset(), { message: `${step} fails` });
      t.equal((await keyFileText()) !== null, step === 'key', 'the key goes first');
      t.notOk(pairing.isOpen(), 'a stranger waits for the timeout, as before');
      await pairing.stop();

      const restarted = pairingService(folder);
      await restarted.pairing.start();
      t.notOk(restarted.pairing.isOpen(), 'also after a restart');
      restarted.clock.advance(TIMEOUT_MS);
      t.ok(restarted.pairing.isOpen(), 'and then anybody can pair again');
      await restarted.pairing.reset();
      t.equal(await restarted.keyFileText(), null, 'done again, it is complete');
      t.notOk(await restarted.marked());
      await restarted.pairing.stop();
      t.equal(clock.pending, 0);
    });
  }
});

const STORED = { salt: Buffer.alloc(16, 1), verifier: Buffer.alloc(384, 1) };

t.test('new rules act at once and keep what was seen', async (t) => {
  const { pairing, see, clock, marked } = pairingService(t.testdir(), { remember: false });
  const rules = { policy: 'open', timeoutMs: TIMEOUT_MS, remember: false } as const;
  await pairing.start();
  await pairing.setPin(PIN);
  see('active');
  see('none');
  clock.advance(60_000);
  pairing.configure({ ...rules, timeoutMs: 60_000 });
  t.ok(pairing.isOpen(), 'the time that has passed counts');
  pairing.configure(rules);
  t.notOk(pairing.isOpen());
  t.match(await pairing.status(), { opensInSeconds: 540 });
  clock.advance(540_000);
  t.ok(pairing.isOpen(), 'the timer follows');

  pairing.configure({ ...rules, policy: 'pin' });
  t.notOk(pairing.isOpen());
  t.equal(pairing.refusesPin(), null);
  t.match(await pairing.status(), { policy: 'pin', pinReady: true });
  pairing.configure({ ...rules, policy: 'locked' });
  t.match(pairing.refusesPin(), { code: 'pairing.closed' });
  t.match(await pairing.status(), { policy: 'locked', pinReady: false, opensInSeconds: null, reason: /locked/ });

  t.notOk(await marked());
  pairing.configure({ ...rules, remember: true });
  await pairing.stop();
  t.ok(await marked(), 'what was seen is remembered from now on');
});

t.test('a policy that asks for a PIN says at once that there is none', async (t) => {
  const { pairing, lines } = pairingService(t.testdir());
  await pairing.start();
  t.same(pairing.faults(), []);
  pairing.configure({ policy: 'pin', timeoutMs: TIMEOUT_MS, remember: true });
  t.match(pairing.faults(), [{ code: 'pairing.pin-missing' }]);
  t.match(lines.at(-1), { level: 'error', code: 'pairing.pin-missing' });
  await pairing.stop();
});

t.test(
  'what happens is put on record in its order; a record that fails or hangs keeps nobody from pairing',
  async (t) => {
    const { pairing, audit } = pairingService(t.testdir());
    await pairing.start();
    await pairing.setPin(PIN);
    await pairing.openLocally();
    const { fingerprint } = await pairing.setKey(freshKeyLine(), SOURCE);
    await pairing.setPin(null);
    t.same(audit, [
      { what: 'pin-set', source: 'local' },
      { what: 'opened', source: 'local' },
      { what: 'key-set', fingerprint, source: SOURCE },
      { what: 'pin-removed', source: 'local' },
    ]);
    await pairing.stop();

    const failing = pairingService(join(t.testdir(), 'other'), {
      audit: { record: () => Promise.reject(new Failure('state.unwritable', 'no space')) },
    });
    await failing.pairing.start();
    await failing.pairing.setKey(freshKeyLine(), SOURCE);
    await failing.pairing.stop();
    t.match(
      failing.lines.find(({ msg }) => /not put on record/.test(msg)),
      { level: 'error', code: 'state.unwritable', what: 'key-set', source: SOURCE },
    );
    const hanging = pairingService(join(t.testdir(), 'third'), {
      audit: { record: () => new Promise(() => undefined) },
    });
    await hanging.pairing.start();
    await t.resolves(hanging.pairing.setKey(freshKeyLine(), SOURCE));
  },
);
