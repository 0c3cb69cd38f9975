import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, createServer, type Server } from 'node:net';
import t, { type Test } from 'tap';
import { oneLine } from '../../src/device/one-line.ts';
import { isSilent } from '../../src/device/own-http.ts';
import { systemClock } from '../../src/support/clock.ts';

t.test('the status of a service in one line', async (t) => {
  const lastFailure = { code: 'proxy.refused', sentence: '', remedy: '', agoMs: 0 } as const;
  t.equal(
    oneLine({ tunnel: { state: 'up', lastFailure }, monitor: 'active', isPairingOpen: false, faults: [] }),
    'the tunnel is up; a paired client is connected; pairing is closed',
  );
  const faults = [{ code: 'http.port-in-use' }, { code: 'http.port-in-use' }, { code: 'state.unwritable' }] as const;
  t.equal(
    oneLine({ tunnel: { state: 'waiting', lastFailure }, monitor: 'none', isPairingOpen: true, faults }),
    'the tunnel is down: proxy.refused; no paired client is connected; pairing is open; does not work: http.port-in-use, state.unwritable',
  );
  t.equal(oneLine({ tunnel: null, monitor: null, isPairingOpen: false }), 'no tunnel is configured; pairing is closed');
  t.equal(oneLine({ tunnel: { state: 'connecting', lastFailure: null }, monitor: null }), 'the tunnel is being set up');
  t.equal(oneLine({ monitor: 'fault' }), 'whether a paired client is connected is not known', 'the monitor alone');
});

async function listening(t: Test, server: Server): Promise<{ host: string; port: number }> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  return { host: '0.0.0.0', port: (server.address() as AddressInfo).port };
}

t.test('of our own HTTP, only that it takes a connection and is silent counts', async (t) => {
  const silent = (at: { host: string; port: number }, limitMs = 20_000) => isSilent(at, limitMs, systemClock);
  const answering = createHttpServer((_req, res) => res.writeHead(503).end());
  t.equal(await silent(await listening(t, answering)), false, 'any answer is one');
  const hanging = createServer((socket) => void t.teardown(() => socket.destroy()));
  t.equal(await silent(await listening(t, hanging), 500), true);
  t.equal(
    await silent(
      await listening(
        t,
        createServer((socket) => socket.destroy()),
      ),
    ),
    false,
    'cut off',
  );
  const gone = createServer();
  const at = await listening(t, gone);
  await new Promise((resolve) => gone.close(resolve));
  t.equal(await silent(at), false, 'nobody listens');
  t.equal(await silent({ host: '192.0.2.1', port: 9 }, 500), false, 'a connection that does not come about');
});
