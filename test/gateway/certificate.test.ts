import { generateKeyPairSync } from 'node:crypto';
import { copyFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Certificate } from '../../src/gateway/certificate.ts';
import { makeCertificate } from '../support/certificates.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { testLog } from '../support/test-log.ts';

function files(folder: string) {
  makeCertificate(folder, 'one');
  makeCertificate(folder, 'two');
  const path = (name: string) => join(folder, name);
  copyFileSync(path('one.crt'), path('cert.pem'));
  copyFileSync(path('one.key'), path('key.pem'));
  return { paths: { cert: path('cert.pem'), key: path('key.pem') }, path };
}

/** Lets a look of the clock's timer read its files. */
async function look(clock: FakeClock): Promise<void> {
  clock.advance(5_000);
  while (clock.pending === 0) await new Promise((resolve) => setImmediate(resolve));
}

t.test('what cannot serve TLS is told at the start', async (t) => {
  const { paths, path } = files(t.testdir());
  const { log } = testLog();
  const load = (changed: Partial<typeof paths>) =>
    Certificate.load({ ...paths, ...changed }, { clock: new FakeClock(), log });
  const code = 'gateway.certificate-unusable';
  await t.rejects(load({ cert: path('none') }), { code, message: /none cannot be used: it cannot be read: ENOENT/ });
  await t.rejects(load({ cert: paths.key }), { code, message: /it holds no certificate/ });
  await t.rejects(load({ key: paths.cert }), { code, message: /it holds no private key/ });
  await t.rejects(load({ key: path('two.key') }), { code, message: /two\.key cannot be used: it is not the key of/ });
  await t.rejects(load({ cert: path('') }), { code, message: /not a regular file/ });
  writeFileSync(path('big'), Buffer.alloc(300_000));
  await t.rejects(load({ cert: path('big') }), { code, message: /more than/ });
  const { privateKey } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    privateKeyEncoding: { type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'secret' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  });
  writeFileSync(path('locked'), privateKey);
  await t.rejects(load({ key: path('locked') }), { code, message: /without a passphrase/ });
});

t.test('replaced files are taken once they fit together, troubles are told once', async (t) => {
  const { paths, path } = files(t.testdir());
  const clock = new FakeClock();
  const { log, lines } = testLog();
  const certificate = await Certificate.load(paths, { clock, log });
  certificate.start();
  const first = certificate.current;
  const seen: unknown[] = [];
  certificate.onChange((pair) => seen.push(pair));
  const off = certificate.onChange(() => t.fail('no longer asked for'));
  off();
  await look(clock);
  t.same(lines, [], 'nothing new');

  copyFileSync(path('two.crt'), paths.cert);
  await look(clock);
  await look(clock);
  t.equal(certificate.current, first);
  t.match(lines, [{ level: 'error', code: 'gateway.certificate-unusable', msg: /not the key .* stays in use/ }]);

  copyFileSync(path('two.key'), paths.key);
  await look(clock);
  t.equal(seen.length, 1);
  t.equal(certificate.current, seen[0]);
  t.not(certificate.current, first);

  lines.length = 0;
  rmSync(paths.cert);
  await look(clock);
  await look(clock);
  t.match(lines, [{ msg: /ENOENT/ }]);
  t.equal(lines.length, 1);
  copyFileSync(path('two.crt'), paths.cert);
  await look(clock);
  t.equal(seen.length, 1, 'the same again is no change');
  rmSync(paths.cert);
  await look(clock);
  t.equal(lines.filter(({ msg }) => /ENOENT/.test(msg)).length, 2, 'a new trouble is told');
  certificate.stop();
  t.equal(clock.pending, 0);
});
