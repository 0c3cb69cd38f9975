import { once } from 'node:events';
import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { type ConnectionOptions, type TLSSocket, connect as tlsConnect } from 'node:tls';
import t, { type Test } from 'tap';
import { Certificate } from '../../../src/gateway/certificate.ts';
import { systemClock } from '../../../src/support/clock.ts';
import { makeCertificate } from '../../support/certificates.ts';
import { frame } from '../../support/raw-proxy.ts';
import { startEcho } from '../../support/tcp-services.ts';
import { testLog } from '../../support/test-log.ts';
import { fastClock, startAgent } from '../../support/tunnel-bench.ts';
import { until } from '../../support/until.ts';
import { type Entry, helloOf, Peer, publicPort, startEntry } from './support.ts';

interface TlsEntry extends Entry {
  ca: Buffer;
  caPath: string;
  paths: { cert: string; key: string };
  folder: string;
  certificate: Certificate;
}

async function startTls(t: Test, tls: 'optional' | 'required'): Promise<TlsEntry> {
  const folder = t.testdir();
  const made = makeCertificate(folder, 'localhost');
  const paths = { cert: join(folder, 'localhost.crt'), key: join(folder, 'localhost.key') };
  const certificate = await Certificate.load(paths, { clock: fastClock(50), log: testLog().log });
  certificate.start();
  t.teardown(() => certificate.stop());
  const entry = await startEntry(t, { tls, certificate });
  return { ...entry, ca: made.cert, caPath: made.path, paths, folder, certificate };
}

async function tlsPeer(t: Test, port: number, options: ConnectionOptions): Promise<{ peer: Peer; socket: TLSSocket }> {
  const socket = tlsConnect({ port, host: '127.0.0.1', servername: 'localhost', ...options });
  t.teardown(() => socket.destroy());
  await once(socket, 'secureConnect');
  return { peer: new Peer(socket), socket };
}

t.test('one port serves plain agents and those with TLS', async (t) => {
  const { port, host, ca } = await startTls(t, 'optional');
  const plain = await Peer.connect(t, port);
  plain.socket.write(helloOf('plain'));
  t.match(await plain.reply(), { status: 'authenticated', device_key: 'plain' });
  const { peer, socket } = await tlsPeer(t, port, { ca });
  peer.socket.write(helloOf('secure'));
  t.match(await peer.reply(), { status: 'authenticated', device_key: 'secure' });
  t.match(socket.getProtocol(), /^TLSv1\.[23]$/);
  t.match([...host.current.keys()], ['plain', 'secure']);
  t.equal(host.current.get('secure')?.address, '127.0.0.1');
  socket.end();
  await host.until(() => host.ends.length === 1);
  t.match(host.ends, [{ reason: 'connection_closed' }]);
});

for (const tls of ['optional', 'required'] as const) {
  t.test(`TLS ${tls}: bulk in both directions through the device's agent arrives whole`, async (t) => {
    const echo = await startEcho();
    t.teardown(() => echo.close());
    const { port, host, caPath } = await startTls(t, tls);
    startAgent(t, port, { services: { echo: echo.port }, proxy: { host: 'localhost', port, tls: { ca: caPath } } });
    const session = await host.session();
    await until('v1', () => session.facts().client === 'v1');
    const publicSide = await publicPort(t, host, echo.port);
    const client = await Peer.connect(t, publicSide.port, { allowHalfOpen: true });
    const bytes = Buffer.alloc(5_000_000);
    for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE(at, at);
    client.socket.end(bytes);
    await client.closed;
    t.ok(client.received.equals(bytes));
  });
}

t.test('where TLS is required a plain agent is told so', async (t) => {
  const { port, host } = await startTls(t, 'required');
  const plain = await Peer.connect(t, port);
  plain.socket.write(helloOf());
  t.match(await plain.reply(), { error: 'auth_failed', reason: 'TLS is required on this port' });
  await plain.closed;
  t.same(host.rejections, ['TLS is required on this port']);
});

t.test('a greeting that comes byte by byte is not lost', async (t) => {
  const { port, ca } = await startTls(t, 'optional');
  const raw = await Peer.connect(t, port);
  raw.socket.removeAllListeners('data');
  const slow = new Duplex({
    read() {},
    write(bytes: Buffer, _encoding, done) {
      const one = (at: number) => {
        if (at === bytes.length) done();
        else raw.socket.write(bytes.subarray(at, at + 1), () => setImmediate(one, at + 1));
      };
      one(0);
    },
  });
  raw.socket.on('data', (bytes: Buffer) => slow.push(bytes));
  const { peer } = await tlsPeer(t, port, { ca, socket: slow });
  peer.socket.write(helloOf());
  t.match(await peer.reply(), { status: 'authenticated' });
});

t.test('half a TLS handshake ends at the deadline, a broken one at once', async (t) => {
  const folder = t.testdir();
  makeCertificate(folder, 'localhost');
  const paths = { cert: join(folder, 'localhost.crt'), key: join(folder, 'localhost.key') };
  const certificate = await Certificate.load(paths, { clock: systemClock, log: testLog().log });
  const { port, host } = await startEntry(t, { tls: 'required', certificate, handshakeTimeoutMs: 300 });
  const [silent, half, broken] = await Promise.all([1, 2, 3].map(() => Peer.connect(t, port)));
  half?.socket.write(Buffer.from([0x16, 3, 1, 2]));
  broken?.socket.write(Buffer.from([0x16, 3, 1, 0, 4, 9, 9, 9, 9, 9, 9]));
  for (const peer of [silent, half, broken]) {
    peer?.socket.on('end', () => peer.socket.destroy());
    await peer?.closed;
  }
  await host.until(() => host.inside === 0);
  t.equal(host.rejections.length, 3);
  t.ok(host.rejections.includes('TLS came to no end'), host.rejections.join(', '));
});

t.test('TLS below 1.2 is not spoken', async (t) => {
  const { port, ca } = await startTls(t, 'optional');
  await t.rejects(tlsPeer(t, port, { ca, minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL@SECLEVEL=0' }));
});

t.test('who gets no place is told in his protocol', async (t) => {
  const { port, ca, caPath, host } = await startTls(t, 'optional');
  host.places = 0;
  const plain = await Peer.connect(t, port);
  plain.socket.write(helloOf());
  t.match(await plain.reply(), { error: 'auth_failed', reason: /busy/ });
  await t.rejects(tlsPeer(t, port, { ca }), { code: 'ERR_SSL_TLSV1_ALERT_ACCESS_DENIED' });
  const { until: seen } = startAgent(t, port, { proxy: { host: 'localhost', port, tls: { ca: caPath } } });
  const { lastFailure } = await seen(({ state }) => state === 'waiting');
  t.match(lastFailure, { code: 'proxy.handshake-refused', sentence: /busy/ }, 'our own agent knows what that means');
});

t.test('a new certificate is used for new connections, sessions go on; a broken one changes nothing', async (t) => {
  const { port, ca, host, folder, paths, certificate } = await startTls(t, 'optional');
  const { peer: before } = await tlsPeer(t, port, { ca });
  before.socket.write(helloOf('before'));
  await before.reply();
  const fingerprint = async () => {
    const { socket } = await tlsPeer(t, port, { rejectUnauthorized: false });
    const seen = socket.getPeerCertificate().fingerprint256;
    socket.destroy();
    return seen;
  };
  const first = await fingerprint();
  const changed = new Promise<void>((resolve) => certificate.onChange(() => resolve()));
  writeFileSync(paths.cert, 'no certificate');
  const renewed = makeCertificate(folder, 'renewed');
  copyFileSync(renewed.path, paths.cert); // the key is still the old one
  await new Promise((resolve) => setTimeout(resolve, 400));
  t.equal(await fingerprint(), first, 'half of a new pair is not used');
  copyFileSync(join(folder, 'renewed.key'), paths.key);
  await changed;
  t.not(await fingerprint(), first);
  t.equal(before.socket.destroyed, false);
  t.equal(host.current.has('before'), true);
  before.socket.write(
    Buffer.concat([
      frame('X', 0, Buffer.from('{"v":1,"maxStreams":8,"window":65536}')),
      frame('P', 0, Buffer.alloc(8)),
    ]),
  );
  await before.until((received) => received.equals(frame('p', 0, Buffer.alloc(8))));
});
