import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import t, { type Test } from 'tap';
import { BufferPool } from '../../src/link/buffer-pool.ts';
import { systemClock } from '../../src/support/clock.ts';
import { Failure } from '../../src/support/failures.ts';
import { type DialOptions, dial, type ProxyAddress } from '../../src/tunnel/dialer.ts';
import { makeCertificate } from '../support/certificates.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { startHangingPort } from '../support/hanging-port.ts';
import { freePort } from '../support/processes.ts';
import { listen } from '../support/tcp-services.ts';
import { until } from '../support/until.ts';

const options = (more: Partial<DialOptions> = {}): DialOptions => ({
  pool: new BufferPool(),
  clock: systemClock,
  timeoutMs: 5000,
  signal: new AbortController().signal,
  ...more,
});

async function failureOf(attempt: Promise<unknown>): Promise<Failure> {
  const error = await attempt.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (error instanceof Failure) return error;
  throw new Error(`not a Failure: ${String(error)}`);
}

/** Starts `server` for the test; its connections are ended with it. */
async function serve(t: Test, server: Server, host?: string): Promise<number> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
  });
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return listen(server, host);
}

const plain = (port: number, host = '127.0.0.1'): ProxyAddress => ({ host, port, tls: null });

t.test('plain TCP: what the peer says early is not lost', async (t) => {
  const port = await serve(
    t,
    createServer((socket) => void socket.write('early')),
  );
  const { socket, reader } = await dial(plain(port), options());
  t.teardown(() => socket.destroy());
  const got = await new Promise<string>((resolve) => reader.deliverTo(({ bytes }) => resolve(bytes.toString())));
  t.equal(got, 'early');
});

t.test('every address of a name is tried', async (t) => {
  // localhost is ::1 and 127.0.0.1 here or only one of them; the port listens on 127.0.0.1 alone.
  const port = await serve(t, createServer());
  const { socket } = await dial(plain(port, 'localhost'), options());
  t.teardown(() => socket.destroy());
  t.equal(socket.remoteAddress, '127.0.0.1');
});

t.test('failures of the network have their names', async (t) => {
  const closedPort = await freePort();
  const refused = await failureOf(dial(plain(closedPort), options()));
  t.equal(refused.code, 'proxy.refused');
  t.match(refused.message, `proxy 127.0.0.1:${closedPort} could not be reached: 127.0.0.1 ECONNREFUSED`);

  const unknown = await failureOf(dial(plain(9001, 'no-such-host.invalid'), options()));
  t.equal(unknown.code, 'proxy.dns');
  t.match(unknown.message, /no-such-host\.invalid/);

  const unreachable = await failureOf(dial(plain(9001, '255.255.255.255'), options()));
  t.equal(unreachable.code, 'proxy.unreachable');
});

t.test('a port that never answers ends at the deadline', async (t) => {
  const hanging = await startHangingPort();
  t.teardown(() => hanging.close());
  const clock = new FakeClock();
  const attempt = failureOf(dial(plain(hanging.port), options({ clock, timeoutMs: 10_000 })));
  await until('the look-up to end', () => clock.pending === 2); // the deadline, and the time of the next address
  clock.advance(9999);
  clock.advance(1);
  const failure = await attempt;
  t.equal(failure.code, 'proxy.timeout');
  t.match(failure.message, /took more than 10 s: connecting to 127\.0\.0\.1/);
  t.equal(clock.pending, 0);
});

t.test('an abort ends the attempt with its reason', async (t) => {
  const hanging = await startHangingPort();
  t.teardown(() => hanging.close());
  const abort = new AbortController();
  const clock = new FakeClock();
  const attempt = dial(plain(hanging.port), options({ clock, signal: abort.signal }));
  abort.abort(new Error('stopped'));
  await t.rejects(attempt, { message: 'stopped' });
  t.equal(clock.pending, 0);
  await t.rejects(dial(plain(hanging.port), options({ clock, signal: abort.signal })), { message: 'stopped' });
  t.equal(clock.pending, 0);
});

t.test('TLS', async (t) => {
  const folder = t.testdir();
  const good = makeCertificate(folder, 'localhost');
  const other = makeCertificate(folder, 'other.example');
  const port = await serve(
    t,
    createTlsServer(good, (socket) => void socket.on('error', () => {}).write('early')).on('tlsClientError', () => {}),
  );
  const to = (tls: { ca?: string; pin?: string }, host = 'localhost'): ProxyAddress => ({ host, port, tls });
  const reached = async (proxy: ProxyAddress) => {
    const { socket, reader } = await dial(proxy, options());
    const got = await new Promise<string>((resolve) => reader.deliverTo(({ bytes }) => resolve(bytes.toString())));
    socket.destroy();
    return got;
  };

  t.test('a certificate of the given CA for this name is accepted', async (t) => {
    t.equal(await reached(to({ ca: good.path })), 'early');
  });

  t.test('SNI is sent', async (t) => {
    let asked: string | false = false;
    const sniPort = await serve(
      t,
      createTlsServer(good, (socket) => {
        asked = (socket as unknown as { servername: string }).servername;
        socket.on('error', () => {}).end('x');
      }),
    );
    const { socket, reader } = await dial({ host: 'localhost', port: sniPort, tls: { ca: good.path } }, options());
    reader.deliverTo(() => {});
    await once(socket, 'close');
    t.equal(asked, 'localhost');
  });

  t.test('a certificate of nobody that is known is not trusted', async (t) => {
    t.equal((await failureOf(dial(to({}), options()))).code, 'proxy.tls-untrusted');
    t.equal((await failureOf(dial(to({ ca: other.path }), options()))).code, 'proxy.tls-untrusted');
  });

  t.test('a certificate for another name is not trusted', async (t) => {
    const failure = await failureOf(dial(to({ ca: good.path }, '127.0.0.1'), options()));
    t.equal(failure.code, 'proxy.tls-untrusted');
    t.match(failure.message, /127\.0\.0\.1/);
  });

  t.test('a pin alone decides, whatever the name and the chain', async (t) => {
    t.equal(await reached(to({ pin: good.pin }, '127.0.0.1')), 'early');
    const failure = await failureOf(dial(to({ pin: other.pin }), options()));
    t.equal(failure.code, 'proxy.tls-pin');
    t.match(failure.message, good.pin, 'the key that was shown is named');
  });

  t.test('with a CA and a pin both must hold', async (t) => {
    t.equal(await reached(to({ ca: good.path, pin: good.pin })), 'early');
    t.equal((await failureOf(dial(to({ ca: good.path, pin: other.pin }), options()))).code, 'proxy.tls-pin');
    t.equal((await failureOf(dial(to({ ca: other.path, pin: good.pin }), options()))).code, 'proxy.tls-untrusted');
  });

  t.test('a CA file that is missing or holds no certificate is named', async (t) => {
    const missing = await failureOf(dial(to({ ca: `${folder}/none.crt` }), options()));
    t.equal(missing.code, 'proxy.tls-untrusted');
    t.match(missing.message, /none\.crt cannot be used: ENOENT/);
    const garbage = await failureOf(dial(to({ ca: new URL(import.meta.url).pathname }), options()));
    t.equal(garbage.code, 'proxy.tls-untrusted');
    t.match(garbage.message, /cannot be used/);
  });

  t.test('a CA file that would block or fill the memory is refused', async (t) => {
    const fifo = `${folder}/fifo`;
    execFileSync('mkfifo', [fifo]);
    const blocking = await failureOf(dial(to({ ca: fifo }), options()));
    t.equal(blocking.code, 'proxy.tls-untrusted');
    t.match(blocking.message, /fifo cannot be used: it is not a regular file/);
    const huge = `${folder}/huge`;
    writeFileSync(huge, Buffer.alloc(1024 * 1024 + 1));
    t.match(await failureOf(dial(to({ ca: huge }), options())), {
      code: 'proxy.tls-untrusted',
      message: /huge cannot be used: it has more than 1048576 bytes/,
    });
  });

  t.test('an abort ends the reading of the CA file too', async (t) => {
    const abort = new AbortController();
    const attempt = dial(to({ ca: `${folder}/none.crt` }), options({ signal: abort.signal }));
    abort.abort(new Error('stopped'));
    await t.rejects(attempt, { message: 'stopped' });
  });

  t.test('a peer that does not speak TLS is told from one that is not trusted', async (t) => {
    const answers: Record<string, (socket: Socket) => void> = {
      'a proxy that refuses the greeting as a bad line': (socket) => void socket.end('{"status":"error"}\n'),
      'an SSH server': (socket) => void socket.write('SSH-2.0-OpenSSH_9.2\r\n'),
      'a peer that closes': (socket) => void socket.once('data', () => socket.end()),
      'a peer that resets': (socket) => void socket.once('data', () => socket.resetAndDestroy()),
    };
    for (const [who, answer] of Object.entries(answers)) {
      const plainPort = await serve(t, createServer(answer));
      const failure = await failureOf(dial({ host: '127.0.0.1', port: plainPort, tls: {} }, options()));
      t.equal(failure.code, 'proxy.tls-not-spoken', who);
    }
    const silentPort = await serve(t, createServer());
    const silent = await failureOf(dial({ host: '127.0.0.1', port: silentPort, tls: {} }, options({ timeoutMs: 300 })));
    t.equal(silent.code, 'proxy.tls-not-spoken', 'a plain proxy waits for the end of a line');
  });

  t.test('a TLS peer with which nothing can be agreed is its own case', async (t) => {
    const oldPort = await serve(
      t,
      createTlsServer({ ...good, ciphers: 'ECDHE-RSA-AES128-GCM-SHA256', maxVersion: 'TLSv1.2' }).on(
        'tlsClientError',
        () => {},
      ),
    );
    const failure = await failureOf(dial({ host: 'localhost', port: oldPort, tls: {} }, options()));
    t.equal(failure.code, 'proxy.tls-failed');
  });
});
