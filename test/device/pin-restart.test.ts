import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { PinFile } from '../../src/pairing/pin-file.ts';
import { prove } from '../../src/srp/client.ts';
import { makeVerifier } from '../../src/srp/verifier.ts';
import { freshKeyLine } from '../support/public-keys.ts';
import type { Service } from '../support/service.ts';
import { until } from '../support/until.ts';
import { device, end, isReady, setKey, statusOf, temporaryFolder } from './support.ts';

const PIN = '20261121';
const LIMIT = 20;

interface Reply {
  status: number;
  body: { ok: boolean; error?: string; M2?: string };
}

async function post({ url }: Service, path: string, body: object): Promise<Reply> {
  const headers = { 'Content-Type': 'application/json' };
  const response = await fetch(`${url}/zeroforce/pin/${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
  return { status: response.status, body: (await response.json()) as Reply['body'] };
}

async function pair(service: Service, pin: string): Promise<Reply & { authentic: boolean }> {
  const challenge = (await post(service, 'challenge', {})).body as unknown as Record<'session' | 'salt' | 'B', string>;
  const key = freshKeyLine();
  const { A, M1, mac, accepts } = await prove(pin, challenge, key);
  const reply = await post(service, 'setkey', { session: challenge.session, A, M1, key, mac });
  return { ...reply, authentic: accepts(reply.body.M2 ?? '') };
}

t.test('killing the service between guesses gives no guess for free', async (t) => {
  const folder = temporaryFolder(t);
  const settings = { ZEROFORCE_PAIRING_POLICY: 'pin' };
  const stateDir = join(folder, 'state');
  // Some guesses are made already, so that the rest of them is few starts.
  const begun = 14;
  await new PinFile({ stateDir }).write({ ...(await makeVerifier(PIN)), failures: begun });
  const counted = async () => JSON.parse(await readFile(join(stateDir, 'pairing-pin.json'), 'utf8')).failures as number;

  /** When the power goes: at the answer, when the count is on the disk, or at any time. */
  const moments = [
    (guess: Promise<unknown>) => guess,
    (_guess: Promise<unknown>, before: number) => until('the count', async () => (await counted()) > before),
    () => sleep(Math.random() * 150),
  ];
  let told = 0;
  let starts = 0;
  for (let before = begun; before < LIMIT; starts += 1) {
    t.ok(starts < 30, 'guesses come to an end');
    if (starts >= 30) return;
    const service = await device(t, settings, { folder });
    const guess = pair(service, '20261122').catch(() => null); // null: cut off
    const moment = moments[starts % moments.length];
    await moment?.(guess, before);
    await end(service, 'SIGKILL');
    const after = await counted();
    const answer = await guess;
    if (answer !== null) {
      told += 1;
      t.match(answer, { status: 403, body: { error: /^The proof of the PIN is wrong/ } });
    }
    t.ok(after === before + 1 || (after === before && answer === null), `${before} → ${after} of ${LIMIT}`);
    before = after;
  }
  t.ok(told <= LIMIT - begun, 'no more answers than guesses that were counted');
  t.equal(await counted(), LIMIT);

  const service = await device(t, settings, { folder });
  const status = await statusOf(service);
  t.match(status.pairing, { policy: 'pin', pinReady: false, pin: { set: true, failuresLeft: 0, locked: true } });
  t.match(status.faults, [{ code: 'pairing.pin-locked', remedy: /tunnel-agent pairing pin/ }]);
  t.match(await post(service, 'challenge', {}), { status: 403, body: { error: /^The PIN is locked/ } });
  t.notOk(service.log().includes(PIN));
});

t.test('the service asks for the PIN, takes the right one, and stays closed to strangers', async (t) => {
  const folder = temporaryFolder(t);
  await new PinFile({ stateDir: join(folder, 'state') }).write({ ...(await makeVerifier(PIN)), failures: 3 });
  const service = await device(t, { ZEROFORCE_PAIRING_POLICY: 'pin' }, { folder });
  t.notOk(await isReady(service));
  t.equal((await setKey(service, freshKeyLine())).status, 403);
  t.match(JSON.parse(await service.get('/zeroforce/info')), { pairing_mode: false, policy: 'pin', pin_ready: true });
  t.match(await pair(service, PIN), { status: 200, authentic: true });
  t.match((await statusOf(service)).pairing, { pin: { failuresLeft: 20 }, key: { type: 'ssh-ed25519' } });
});
