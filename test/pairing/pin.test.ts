import { mkdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SrpServer } from 'fast-srp-hap';
import t, { type Test } from 'tap';
import { PinFile } from '../../src/pairing/pin-file.ts';
import { makeVerifier } from '../../src/srp/verifier.ts';
import { Failure } from '../../src/support/failures.ts';
import { type Changes, pairingService } from '../support/pairing-service.ts';
import { proofFor, wrongProof } from '../support/pin-client.ts';
import { freshKeyLine } from '../support/public-keys.ts';

const PIN = '20261121';
/** Made once: it takes a while. */
const VERIFIER = makeVerifier(PIN);
const NO_FAILURES = async () => ({ ...(await VERIFIER), failures: 0 });
const SOURCE = '192.168.1.20';
/** As many addresses as a stranger likes to have. */
const stranger = (n: number) => `fe80::${n.toString(16)}`;

/** A device with policy `pin`, the PIN set, so many wrong proofs, and no tunnel; started. */
async function withPin(t: Test, { wrong = 0, ...changes }: Changes & { wrong?: number } = {}) {
  const folder = t.testdir();
  await new PinFile({ stateDir: join(folder, 'state') }).write({ ...(await VERIFIER), failures: wrong });
  const service = pairingService(folder, { policy: 'pin', ...changes });
  const { pairing, clock } = service;
  await pairing.start();
  t.teardown(() => pairing.stop());
  /** The whole way of a client. */
  const pair = async (pin: string, key: string, source = SOURCE) => {
    const { request, accepts } = await proofFor(await pairing.pinChallenge(source), pin, key);
    const { M2 } = await pairing.setKeyWithPin(request, source);
    return accepts(M2);
  };
  /** A wrong guess from an address of its own, as fast as the device lets anybody ask; gives what came of it. */
  const guess = async (n: number) => {
    clock.advance(2_000);
    const { session } = await pairing.pinChallenge(stranger(n));
    return pairing.setKeyWithPin(wrongProof(session, freshKeyLine()), stranger(n)).catch((error: Failure) => error);
  };
  return { ...service, folder, pair, guess };
}

t.test('whoever proves the PIN sets its key; everybody else finds pairing closed', async (t) => {
  const { pairing, pair, keyFileText, pinFileText, failures, pinPath, marked, has } = await withPin(t);
  t.notOk(pairing.isOpen(), 'readytopair stays false');
  await t.rejects(pairing.setKey(freshKeyLine(), SOURCE), { code: 'pairing.closed' });
  t.equal(pairing.refusesPin(), null);
  t.match(await pairing.status(), {
    policy: 'pin',
    open: false,
    pinReady: true,
    opensInSeconds: 0,
    pin: { set: true, failuresLeft: 20, locked: false },
  });
  const line = freshKeyLine();
  t.ok(await pair(PIN, line), 'the device has proved that it knows the PIN, too');
  t.equal(await keyFileText(), `${line}\n`);
  t.ok(await marked());
  t.equal(await failures(), 0);
  t.equal((await stat(pinPath)).mode & 0o777, 0o600);
  t.notMatch(await pinFileText(), PIN, 'the PIN itself is not kept');
  t.notOk(has(new RegExp(PIN)), 'nor logged');
});

t.test('a wrong PIN sets no key, is counted, and tells how many attempts are left', async (t) => {
  const { pair, keyFileText, failures, pairing, audit } = await withPin(t);
  await t.rejects(pair('20261122', freshKeyLine()), { code: 'pairing.pin-wrong', message: /19 attempts are left$/ });
  t.equal(await keyFileText(), null);
  t.equal(await failures(), 1);
  t.match((await pairing.status()).pin, { failuresLeft: 19 });
  t.same(audit, [{ what: 'key-refused-pin', source: SOURCE }]);
});

t.test('a source waits longer after each wrong PIN; the others do not wait; a right one ends it', async (t) => {
  const { pairing, clock, pair } = await withPin(t);
  const waits: number[] = [];
  for (let n = 0; n < 8; n += 1) {
    const { session } = await pairing.pinChallenge(SOURCE);
    await t.rejects(pairing.setKeyWithPin(wrongProof(session, freshKeyLine()), SOURCE), { code: 'pairing.pin-wrong' });
    const seconds = pairing.pinWaitSeconds(SOURCE);
    waits.push(seconds);
    t.equal(pairing.pinWaitSeconds('192.168.1.21'), 0);
    clock.advance(seconds * 1000 - 1);
    t.equal(pairing.pinWaitSeconds(SOURCE), 1);
    clock.advance(1);
    t.equal(pairing.pinWaitSeconds(SOURCE), 0);
    clock.advance(2_000); // for a challenge
  }
  t.same(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
  t.ok(await pair(PIN, freshKeyLine()));
  await t.rejects(pair('20261122', freshKeyLine()), { code: 'pairing.pin-wrong', message: /19/ });
  t.equal(pairing.pinWaitSeconds(SOURCE), 1, 'counted from the beginning again');
});

t.test('a source that has to wait is not served by a challenge that it got before', async (t) => {
  const { pairing, clock, failures } = await withPin(t);
  const mine = await pairing.pinChallenge(SOURCE);
  const other = await pairing.pinChallenge('192.168.1.21');
  const guesses = [mine, other].map(({ session }) =>
    pairing.setKeyWithPin(wrongProof(session, freshKeyLine()), SOURCE),
  );
  const [first, second] = await Promise.allSettled(guesses);
  t.match(first, { reason: { code: 'pairing.pin-wrong' } });
  t.match(second, { reason: { code: 'pairing.pin-busy' } });
  t.equal(await failures(), 1);
  clock.advance(1_000);
  const again = pairing.setKeyWithPin(wrongProof(other.session, freshKeyLine()), SOURCE);
  await t.rejects(again, { code: 'pairing.pin-wrong' });
});

t.test('20 wrong PINs from ever new sources lock it, for the right one too, also after a restart', async (t) => {
  const { guess, failures, pairing, folder, audit, clock, lines } = await withPin(t, { wrong: 12 });
  for (let n = 13; n <= 20; n += 1) {
    const left = n === 20 ? /the PIN is locked now$/ : n === 19 ? /; 1 attempt is left$/ : new RegExp(`; ${20 - n} `);
    t.match(await guess(n), { code: 'pairing.pin-wrong', message: left });
  }
  t.equal(await failures(), 20);
  t.match(audit.slice(-2), [{ what: 'key-refused-pin' }, { what: 'pin-locked', source: stranger(20) }]);
  t.equal(audit.length, 9);
  t.ok(lines.some(({ level, code }) => level === 'error' && code === 'pairing.pin-locked'));
  clock.advance(3_600_000);
  await t.rejects(pairing.pinChallenge(SOURCE), { code: 'pairing.pin-locked' });
  t.match(await pairing.status(), { pinReady: false, pin: { set: true, failuresLeft: 0, locked: true } });
  t.match(pairing.faults(), [{ code: 'pairing.pin-locked' }]);
  await pairing.stop();

  const restarted = pairingService(folder, { policy: 'pin' }).pairing;
  await restarted.start();
  t.match(restarted.refusesPin(), { code: 'pairing.pin-locked' });
  await restarted.stop();
});

t.test('a locked PIN: a local opening pairs and leaves it locked, a reset or a new PIN unlocks it', async (t) => {
  t.test('a local opening', async (t) => {
    const { pairing } = await withPin(t, { wrong: 20 });
    await pairing.openLocally();
    await pairing.setKey(freshKeyLine(), SOURCE);
    t.match(pairing.refusesPin(), { code: 'pairing.pin-locked' });
  });

  t.test('a reset', async (t) => {
    const { pairing, pair, failures } = await withPin(t, { wrong: 20 });
    await pairing.reset();
    t.equal(await failures(), 0);
    t.ok(await pair(PIN, freshKeyLine()), 'it is the old one');
  });

  t.test('a new PIN', async (t) => {
    const { pairing, pair, failures } = await withPin(t, { wrong: 25 });
    await pairing.setPin('314159');
    t.equal(await failures(), 0);
    await t.rejects(pair(PIN, freshKeyLine()), { code: 'pairing.pin-wrong' }, 'the old one is void');
    t.ok(await pair('314159', freshKeyLine(), '192.168.1.21'));
  });
});

t.test('guesses at the same time do not pass the limit', async (t) => {
  const { pairing, clock, failures } = await withPin(t, { wrong: 15 });
  const sessions: string[] = [];
  for (let n = 100; n < 108; n += 1) {
    clock.advance(2_000);
    sessions.push((await pairing.pinChallenge(stranger(n))).session);
  }
  const guesses = sessions.map((session, n) =>
    pairing.setKeyWithPin(wrongProof(session, freshKeyLine()), stranger(100 + n)),
  );
  const outcomes = await Promise.allSettled(guesses);
  t.same(
    outcomes.map((outcome) => (outcome.status === 'rejected' ? (outcome.reason as Failure).code : 'set')),
    [...Array(5).fill('pairing.pin-wrong'), ...Array(3).fill('pairing.pin-locked')],
  );
  t.equal(await failures(), 20);
});

t.test('a proof is counted on the disk before it is checked, and a right one sets the count back', async (t) => {
  const order: string[] = [];
  const { pair } = await withPin(t, {
    pinFile: {
      read: NO_FAILURES,
      write: async ({ failures }) => {
        order.push(`count ${failures} begins`);
        await new Promise(setImmediate);
        order.push('ends');
      },
    },
    keyFile: {
      replace: async () => {
        order.push('key');
      },
    },
  });
  const { setA } = SrpServer.prototype;
  t.teardown(() => {
    SrpServer.prototype.setA = setA;
  });
  SrpServer.prototype.setA = function (A) {
    order.push('check');
    setA.call(this, A);
  };
  t.ok(await pair(PIN, freshKeyLine()));
  t.same(order, ['count 1 begins', 'ends', 'check', 'count 0 begins', 'ends', 'key']);
});

t.test('where the count cannot be written, no proof is checked', async (t) => {
  let full = false;
  const { pairing, pair, keyFileText, clock } = await withPin(t, {
    pinFile: {
      read: NO_FAILURES,
      write: async () => {
        if (full) throw new Failure('state.unwritable', 'no space');
      },
    },
  });
  full = true;
  await t.rejects(pair(PIN, freshKeyLine()), { code: 'state.unwritable' });
  t.equal(await keyFileText(), null);
  clock.advance(2_000);
  const { session } = await pairing.pinChallenge(SOURCE);
  await t.rejects(pairing.setKeyWithPin(wrongProof(session, freshKeyLine()), SOURCE), { code: 'state.unwritable' });
  t.equal(pairing.pinWaitSeconds(SOURCE), 0, 'nobody was told whether it was right');
  full = false;
  t.ok(await pair(PIN, freshKeyLine()));
});

t.test('a right proof whose count cannot be set back is right all the same, and the log says so', async (t) => {
  let writes = 0;
  const { pair, lines, pairing } = await withPin(t, {
    pinFile: {
      read: NO_FAILURES,
      write: async () => {
        writes += 1; // the count, and the count set back
        if (writes === 2) throw new Failure('state.unwritable', 'no space');
      },
    },
  });
  t.ok(await pair(PIN, freshKeyLine()));
  t.ok(lines.some(({ code, msg }) => code === 'state.unwritable' && /still counts/.test(msg)));
  t.equal((await pairing.status()).pin?.failuresLeft, 19);
});

t.test('a challenge is for one proof, within a minute, by the PIN it was made for', async (t) => {
  const { pairing, clock, failures, keyFileText } = await withPin(t);
  const [first, second] = [freshKeyLine('first'), freshKeyLine('second')];
  const { request } = await proofFor(await pairing.pinChallenge(SOURCE), PIN, first);
  await pairing.setKeyWithPin(request, SOURCE);
  const refused = (what: Promise<unknown>, why: string) => t.rejects(what, { code: 'pairing.pin-challenge' }, why);
  await refused(pairing.setKeyWithPin(request, SOURCE), 'replayed');
  await refused(pairing.setKeyWithPin({ ...request, key: second }, '192.168.1.66'), 'replayed with another key');
  const other = await pairing.pinChallenge(SOURCE);
  await t.rejects(pairing.setKeyWithPin({ ...request, session: other.session }, '192.168.1.66'), {
    code: 'pairing.pin-wrong',
  });

  const old = await proofFor(await pairing.pinChallenge(SOURCE), PIN, second);
  clock.advance(60_000);
  await refused(pairing.setKeyWithPin(old.request, SOURCE), 'too old');
  await refused(pairing.setKeyWithPin({ ...old.request, session: '00'.repeat(16) }, SOURCE), 'unknown');

  const before = await proofFor(await pairing.pinChallenge(SOURCE), PIN, second);
  await pairing.setPin(PIN);
  await refused(pairing.setKeyWithPin(before.request, SOURCE), 'the PIN was set anew');
  t.equal(await failures(), 0, 'none of them is a guess');
  t.equal(await keyFileText(), `${first}\n`);
});

t.test('a client may come by IPv4 for the challenge and by IPv6 with the proof', async (t) => {
  const { pairing } = await withPin(t);
  const { request } = await proofFor(await pairing.pinChallenge(SOURCE), PIN, freshKeyLine());
  await t.resolves(pairing.setKeyWithPin(request, 'fe80::20'));
});

t.test('a proof authorises the key it was made for, and no other', async (t) => {
  const { pairing, keyFileText, failures, clock } = await withPin(t);
  const line = freshKeyLine('mine');
  for (const key of [freshKeyLine('of somebody on the way'), `${line} `, line.replace('mine', 'mime')]) {
    const { request } = await proofFor(await pairing.pinChallenge(SOURCE), PIN, line);
    await t.rejects(pairing.setKeyWithPin({ ...request, key }, SOURCE), { code: 'pairing.pin-wrong' });
    clock.advance(60_000);
  }
  const { request } = await proofFor(await pairing.pinChallenge(SOURCE), PIN, line);
  await t.rejects(pairing.setKeyWithPin({ ...request, mac: Buffer.alloc(64) }, SOURCE), { code: 'pairing.pin-wrong' });
  t.equal(await keyFileText(), null);
  t.equal(await failures(), 4);
});

t.test('a right proof for something that is no key is 0 wrong proofs and no key', async (t) => {
  const { pair, failures, keyFileText } = await withPin(t);
  await t.rejects(pair(PIN, 'ssh-ed25519 AAAA'), { code: 'key.invalid' });
  t.equal(await failures(), 0);
  t.equal(await keyFileText(), null);
});

t.test('a source that asks again gets the same challenge: it costs the device nothing', async (t) => {
  const { pairing, clock } = await withPin(t);
  const first = await pairing.pinChallenge(SOURCE);
  for (let n = 0; n < 100; n += 1) t.equal((await pairing.pinChallenge(SOURCE)).session, first.session);
  const atOnce = await Promise.all([pairing.pinChallenge('fe80::1'), pairing.pinChallenge('fe80::1')]);
  t.equal(atOnce[0].session, atOnce[1].session);
  clock.advance(30_001);
  const second = await pairing.pinChallenge(SOURCE);
  t.not(second.session, first.session, 'with less than half a minute left it is no use to a client');
  t.notOk(second.B.equals(first.B));
});

t.test('strangers who flood the device with challenges do not keep the owner out', async (t) => {
  const { pairing, clock } = await withPin(t);
  let n = 0;
  /** All that the device gives, from ever new addresses. */
  const flood = async () => {
    for (;;) {
      n += 1;
      try {
        await pairing.pinChallenge(stranger(n));
      } catch (error) {
        t.equal((error as Failure).code, 'pairing.pin-busy');
        return;
      }
    }
  };
  await flood();
  t.equal(n, 5, 'four at once');
  clock.advance(600_000);
  const mine = await proofFor(await pairing.pinChallenge(SOURCE), PIN, freshKeyLine());
  for (let seconds = 0; seconds < 7; seconds += 1) {
    await flood();
    clock.advance(1_000);
  }
  await t.resolves(pairing.setKeyWithPin(mine.request, SOURCE), 'it stood for 7 s');
  const before = n;
  for (let seconds = 0; seconds < 20; seconds += 1) {
    clock.advance(1_000);
    await flood();
  }
  t.ok(n - before - 20 <= 11, `30 a minute for all together, not ${3 * (n - before - 20)}`);
});

t.test('a tunnel that comes after the challenge refuses the proof, and it is no guess', async (t) => {
  const { pairing, world, see, failures, keyFileText } = await withPin(t);
  const { request } = await proofFor(await pairing.pinChallenge(SOURCE), PIN, freshKeyLine());
  see('active');
  await t.rejects(pairing.setKeyWithPin(request, SOURCE), { code: 'pairing.closed' });
  await t.rejects(pairing.pinChallenge(SOURCE), { code: 'pairing.closed' });
  see('none');
  await pairing.reset();
  const second = await proofFor(await pairing.pinChallenge(SOURCE), PIN, freshKeyLine());
  world.tunnel = 'active'; // nobody has reported it yet
  await t.rejects(pairing.setKeyWithPin(second.request, SOURCE), { code: 'pairing.closed' });
  t.equal(await failures(), 0);
  t.equal(await keyFileText(), null);
  await pairing.stop(); // a marker may be on its way
});

t.test('without a PIN nobody can prove it, and the device says so', async (t) => {
  const { pairing, lines } = pairingService(t.testdir(), { policy: 'pin' });
  await pairing.start();
  t.match(pairing.refusesPin(), { code: 'pairing.pin-missing' });
  t.match(pairing.faults(), [{ code: 'pairing.pin-missing', remedy: /tunnel-agent pairing pin/ }]);
  t.ok(lines.some(({ code }) => code === 'pairing.pin-missing'));
  t.match(await pairing.status(), { pinReady: false, pin: { set: false } });
  await t.rejects(pairing.pinChallenge(SOURCE), { code: 'pairing.pin-missing' });
  await pairing.setPin(PIN);
  t.same(pairing.faults(), []);
  await pairing.setPin(null);
  t.match(pairing.refusesPin(), { code: 'pairing.pin-missing' });
  await pairing.stop();
});

t.test('with another policy no PIN is asked for, missed or accepted', async (t) => {
  for (const policy of ['open', 'locked'] as const) {
    const { pairing } = pairingService(join(t.testdir(), policy), { policy });
    await pairing.start();
    t.same(pairing.faults(), []);
    await pairing.setPin(PIN);
    await t.rejects(pairing.pinChallenge(SOURCE), { code: 'pairing.closed' }, policy);
    await pairing.stop();
  }
});

t.test('a PIN has 6 to 16 digits', async (t) => {
  const { pairing, pair } = await withPin(t);
  for (const bad of ['', '12345', '12345678901234567', '12345a', ' 123456', '123456\n', '１２３４５６']) {
    await t.rejects(pairing.setPin(bad), { code: 'pairing.pin-invalid', message: /^(?!.*12345)/ }, JSON.stringify(bad));
  }
  t.ok(await pair(PIN, freshKeyLine()), 'the old one stays');
});

t.test('a damaged file accepts no proof, begins no count at 0, and is healed by a new PIN', async (t) => {
  for (const [name, text] of Object.entries({
    empty: '',
    cut: '{"salt":"00","verif',
    'without a count': '{"salt":"00","verifier":"01"}',
    'with a count below 0': '{"salt":"00","verifier":"01","failures":-1}',
    'with half a count': '{"salt":"00","verifier":"01","failures":0.5}',
    'no hex': '{"salt":"0g","verifier":"01","failures":0}',
    null: 'null',
  })) {
    const folder = join(t.testdir(), name);
    await mkdir(join(folder, 'state'), { recursive: true });
    const { pairing, pinPath } = pairingService(folder, { policy: 'pin' });
    await writeFile(pinPath, text);
    await pairing.start();
    t.match(pairing.refusesPin(), { code: 'state.unreadable', message: /pairing-pin\.json could not be read/ }, name);
    t.equal((await pairing.status()).pin, null);
    await pairing.reset();
    t.match(pairing.refusesPin(), { code: 'state.unreadable' }, 'a reset cannot know the PIN either');
    await pairing.setPin(PIN);
    t.equal(pairing.refusesPin(), null);
    await pairing.stop();
  }
});
