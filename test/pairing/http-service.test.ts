import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { startPairingApp } from '../support/pairing-app.ts';
import { pairingService } from '../support/pairing-service.ts';
import { freshKeyLine } from '../support/public-keys.ts';

/** Routes, service and files together; only the tunnel and the service's clock are the test's. */
async function startDevice(t: Parameters<typeof startPairingApp>[0] & { testdir: () => string }) {
  const folder = t.testdir();
  const { pairing, see, clock, world, keyPath, keyFileText: keyFile } = pairingService(folder);
  await pairing.start();
  t.teardown(() => pairing.stop());
  const { ask, form } = await startPairingApp(t, { pairing });
  const ready = async () => (await ask('/zeroforce/readytopair')).body;
  return { form, ready, see, world, clock, keyFile, keyPath, folder };
}

t.test('the whole life of a pairing, by HTTP', async (t) => {
  const { form, ready, see, clock, keyFile } = await startDevice(t);
  t.equal(await ready(), 'true');
  const first = freshKeyLine('first');
  t.match(await form(first), { status: 200, body: '{"ok":true}' });
  t.equal(await keyFile(), `${first}\n`);
  t.equal(await ready(), 'true');

  see('active');
  t.equal(await ready(), 'false');
  const second = freshKeyLine('second');
  t.equal((await form(second)).status, 403);
  see('none');
  clock.advance(599_999);
  t.equal(await ready(), 'false');
  t.equal((await form(second)).status, 403);
  t.equal(await keyFile(), `${first}\n`);

  clock.advance(1);
  t.equal(await ready(), 'true');
  t.equal((await form(second)).status, 200);
  t.equal(await keyFile(), `${second}\n`);
});

t.test('a tunnel that nobody reported yet is found by setkey itself', async (t) => {
  const { form, ready, world, keyFile } = await startDevice(t);
  world.tunnel = 'active';
  t.equal(await ready(), 'true');
  t.equal((await form(freshKeyLine())).status, 403);
  t.equal(await ready(), 'false');
  t.equal(await keyFile(), null);
});

t.test('clients at once: each answer is true, and the file holds one whole key of theirs', async (t) => {
  const { form, keyFile } = await startDevice(t);
  const lines = Array.from({ length: 20 }, (_, n) => freshKeyLine(`client-${n}`));
  const answers = await Promise.all(lines.map((line, n) => form(line, { from: `127.0.0.${n + 2}` })));
  t.ok(answers.every(({ status, body }) => status === 200 && body === '{"ok":true}'));
  t.ok(lines.map((line) => `${line}\n`).includes((await keyFile()) ?? ''));
});

t.test('what cannot be stored is 500, and the old key stays in force', async (t) => {
  const { form, keyFile, keyPath, folder } = await startDevice(t);
  const old = freshKeyLine('old');
  await form(old);

  // A file where the state folder should be, so that the marker cannot be written.
  await rm(join(folder, 'state'), { recursive: true });
  await writeFile(join(folder, 'state'), '');
  t.match(await form(freshKeyLine()), { status: 500, body: /"ok":false/ });
  t.equal(await keyFile(), `${old}\n`);
  await rm(join(folder, 'state'));

  // A folder where the key file should be, which no rename can replace.
  await rm(keyPath);
  await mkdir(keyPath);
  t.match(await form(freshKeyLine()), { status: 500, body: /"ok":false/ });
  await rm(keyPath, { recursive: true });
  t.match(await form(freshKeyLine()), { status: 200 }, 'once it is repaired, it works again');
});
