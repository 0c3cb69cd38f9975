import { existsSync, readFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { PinFile } from '../../src/pairing/pin-file.ts';
import { createChallenge } from '../../src/srp/server.ts';
import { makeVerifier } from '../../src/srp/verifier.ts';
import { run } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { PROGRAM } from '../support/service.ts';
import { until } from '../support/until.ts';
import { pairHere, scriptedHttp, startDevice, startPair, temporaryFolder } from './support.ts';

const needs = requires('sshd', 'ssh', 'ssh-keygen', 'netstat');
const PIN = '73190264';

/** A device that wants this PIN. */
async function pinDevice(t: Test) {
  const folder = temporaryFolder(t);
  const file = new PinFile({ stateDir: join(folder, 'state') });
  await file.write({ ...(await makeVerifier(PIN)), failures: 0 });
  const device = await startDevice(t, { ZEROFORCE_PAIRING_POLICY: 'pin' }, folder);
  await until('the PIN to be wanted', async () => {
    const info = JSON.parse((await device.service.get('/zeroforce/info')) || '{}') as { pin_ready?: boolean };
    return info.pin_ready;
  });
  return { ...device, failures: async () => (await file.read())?.failures };
}

t.test('a device that wants its PIN', needs, async (t) => {
  const device = await pinDevice(t);
  const home = temporaryFolder(t);
  const pinFile = join(home, 'pin');
  const args = [...device.args, '--once'];

  await t.test('without one it ends, and says so', async (t) => {
    const client = startPair(t, args, { home });
    t.equal(await client.exit(), 5);
    t.match(client.named('failed')[0], { code: 'pair.pin-needed' });
  });

  await t.test('what is no PIN is not sent, and not shown', async (t) => {
    await writeFile(pinFile, 'letmein99\n');
    const client = startPair(t, [...args, '--pin-file', pinFile], { home });
    t.equal(await client.exit(), 5);
    t.match(client.named('failed')[0], { code: 'pair.pin-needed' });
    t.notMatch(client.stdout + client.stderr, 'letmein99');
    t.equal(await device.failures(), 0);
  });

  await t.test('a wrong one is tried once, also by the next process', async (t) => {
    await writeFile(pinFile, '73190265\n');
    const first = startPair(t, [...args, '--pin-file', pinFile], { home });
    t.equal(await first.exit(), 5);
    t.match(first.named('failed')[0], { code: 'pair.pin-wrong', sentence: /19/ });
    t.equal(await device.failures(), 1);
    const second = startPair(t, [...args, '--pin-file', pinFile], { home });
    t.equal(await second.exit(), 5);
    t.match(second.named('failed').concat(second.named('waiting')).at(0), { event: /failed|waiting/ });
    t.match(second.stderr, /refused this PIN before/);
    t.equal(await device.failures(), 1, 'which a supervisor has started again');
    t.notMatch(readFileSync(join(home, '.config/zeroforce/id_ed25519.refused-pin'), 'utf8'), /73190265/);
  });

  await t.test('the right one pairs, and stands nowhere afterwards', async (t) => {
    const client = startPair(t, args, { home, env: { ZEROFORCE_PIN: PIN } });
    t.equal(await client.exit(), 0, client.stdout + client.stderr);
    t.match(client.named('paired')[0], { by: 'pin' });
    t.equal(await device.failures(), 0);
    t.notMatch(client.stdout + client.stderr, PIN);
    t.notMatch(device.service.log(), PIN);
  });
});

t.test('a PIN behind --pin is accepted with a warning, and taken out of the process list', needs, async (t) => {
  const device = await pinDevice(t);
  const client = startPair(t, [...device.args, '--pin', PIN, '--forward', '1:localhost:1'], {
    home: temporaryFolder(t),
  });
  await client.sees('paired');
  t.notMatch(await readFile(`/proc/${client.child.pid}/cmdline`, 'utf8'), PIN);
  for (const pid of client.below()) {
    const seen = await Promise.all(['cmdline', 'environ'].map((file) => readFile(`/proc/${pid}/${file}`, 'utf8')));
    t.notMatch(seen.join(), PIN);
  }
  t.match(client.stderr, /can be seen by others/);
  t.notMatch(client.stdout + client.stderr, PIN);
  await client.end();
});

t.test('--pin alone reads it from what is piped in', needs, async (t) => {
  const device = await pinDevice(t);
  const client = startPair(t, [...device.args, '--once', '--pin'], { home: temporaryFolder(t) });
  client.child.stdin?.end(`${PIN}\n`);
  t.equal(await client.exit(), 0, client.stdout + client.stderr);
});

t.test('on a terminal the PIN is asked for, and not shown', requires('sshd', 'ssh', 'netstat', 'script'), async (t) => {
  const device = await pinDevice(t);
  const home = temporaryFolder(t);
  const command = [PROGRAM, 'pair', ...device.args, '--once'].join(' ');
  const { stdout } = await run('script', ['-qec', command, '/dev/null'], {
    env: { PATH: process.env.PATH, HOME: home, XDG_RUNTIME_DIR: home, TERM: 'xterm' },
    input: `${PIN}\n`,
  });
  t.match(stdout, /PIN of the device: /);
  t.match(stdout, /\u001b\[32mpaired: /, 'in colour');
  t.match(stdout, /done: /);
});

t.test('who takes the key and does not know the PIN is not the device', requires('ssh-keygen'), async (t) => {
  const challenge = await createChallenge(await makeVerifier('00000000'));
  const [salt, B] = [challenge.salt.toString('hex'), challenge.B.toString('hex')];
  const replies: Record<string, unknown> = {
    '/zeroforce/readytopair': false,
    '/zeroforce/info': { version: '1', policy: 'pin', pin_ready: true },
    '/zeroforce/pin/challenge': { ok: true, session: 'a', group: 'rfc5054-3072', hash: 'SHA-512', salt, B },
    '/zeroforce/pin/setkey': { ok: true, M2: 'ab'.repeat(64) },
  };
  const bodies: string[] = [];
  const port = await scriptedHttp(t, ({ path, body }, res) => {
    bodies.push(body);
    return res.end(JSON.stringify(replies[path]));
  });
  const folder = temporaryFolder(t);
  const client = pairHere(t, { tunnelPort: port, httpPort: port, folder, pin: PIN });
  t.equal((await client.ended)?.code, 'pair.impostor');
  t.notOk(client.names().includes('paired'));
  t.notMatch(bodies.join(), PIN);
  t.notOk(existsSync(join(folder, 'id.known_hosts')));
});
