import { once } from 'node:events';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { freePort } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { until } from '../support/until.ts';
import { isReady, startDevice, startPair, temporaryFolder } from './support.ts';

const needs = requires('sshd', 'ssh', 'ssh-keygen', 'netstat');

t.test('a fresh device and a fresh client: found, paired, and a byte goes through the forward', needs, async (t) => {
  const device = await startDevice(t);
  await until('pairing to open', () => isReady(device.service));
  const home = temporaryFolder(t);
  const localPort = await freePort();
  const forward = `${localPort}:localhost:${device.httpPort}`;
  const client = startPair(t, [...device.args, '--forward', forward], { home });

  await client.sees('forward');
  t.strictSame(
    client.events.map(({ event }) => event),
    ['identity', 'found', 'paired', 'connecting', 'connected', 'forward'],
    'a new key is not tried before it was sent',
  );
  const answer = await fetch(`http://127.0.0.1:${localPort}/zeroforce/info`);
  t.match(await answer.json(), { hostname: /./ }, 'the device answers through the tunnel');
  console.log(client.stdout, client.stderr, device.service.log());
});
