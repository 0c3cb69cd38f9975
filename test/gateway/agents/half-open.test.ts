import { spawn } from 'node:child_process';
import t from 'tap';
import { FAR, network } from '../../support/network.ts';
import { endChild } from '../../support/processes.ts';
import { requires } from '../../support/requires.ts';
import { startGatewayChild } from './gateway-child.ts';

/** Agents from the other end of a cable, in their plainest form: the hello, an X where they know v1, then silence. */
const AGENTS = `
  const { connect } = require('node:net');
  for (const [name, v1] of Object.entries(JSON.parse(process.argv[1]))) {
    const socket = connect(9001, '${FAR}', () => socket.write(JSON.stringify({ token: 't', name }) + '\\n'));
    const settings = Buffer.from('{"v":1,"maxStreams":8,"window":65536}');
    const header = Buffer.from([0x58, 0, 0, 0, 0, 0, 0, 0, settings.length]);
    let first = true;
    socket.on('error', () => {}).on('data', (bytes) => {
      if (first && v1) socket.write(Buffer.concat([header, settings]));
      first = false;
      // Pings are answered, whatever else is in the chunk.
      const ping = bytes.indexOf(Buffer.from([0x50, 0, 0, 0, 0, 0, 0, 0, 8]));
      if (ping !== -1) socket.write(Buffer.concat([Buffer.from([0x70]), bytes.subarray(ping + 1, ping + 17)]));
    });
  }`;

t.test('an agent that is gone without a word is noticed', requires('root', 'ip', 'namespaces'), async (t) => {
  const { inNear, inFar, cut } = network(t);
  const gateway = startGatewayChild(t, FAR, 9001, inFar);
  await gateway.until(({ what }) => what === 'listening');
  const names = { 'legacy-idle': false, 'ticking-legacy': false, 'v1-idle': true, 'ticking-v1': true };
  const command = [...inNear, process.execPath, '-e', AGENTS, JSON.stringify(names)];
  const agents = spawn(command[0] ?? '', command.slice(1), { stdio: ['ignore', 'ignore', 'inherit'] });
  t.teardown(() => endChild(agents, 'SIGKILL'));
  const all = Object.keys(names);
  await Promise.all(all.map((name) => gateway.until((one) => one.what === 'started' && one.device === name)));
  await new Promise((resolve) => setTimeout(resolve, 3_000)); // X is read, bytes have been acknowledged

  const cutAtMs = performance.now();
  cut();
  await Promise.all(
    all.map(async (name) => {
      const end = await gateway.until((one) => one.what === 'ended' && one.device === name);
      const seconds = (performance.now() - cutAtMs) / 1000;
      t.match(end, { reason: 'keepalive_timeout' }, name);
      const limit = name.includes('v1') ? 26 : 45;
      t.ok(seconds < limit, `${name}: after ${seconds.toFixed(1)} s, of ${limit}`);
    }),
  );
});
