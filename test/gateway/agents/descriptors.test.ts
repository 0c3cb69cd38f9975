import { readFileSync } from 'node:fs';
import t from 'tap';
import { requires } from '../../support/requires.ts';
import { startGatewayChild } from './gateway-child.ts';
import { helloOf, Peer } from './support.ts';

t.test(
  'without file descriptors nobody new gets in, and all goes on; then it lets in again',
  requires('prlimit'),
  async (t) => {
    const gateway = startGatewayChild(t, '127.0.0.1', 0, ['prlimit', '--nofile=60', '--']);
    const listening = await gateway.until(({ what }) => what === 'listening');
    const port = listening.what === 'listening' ? listening.port : 0;
    const first = await Peer.connect(t, port);
    first.socket.write(helloOf('first'));
    t.match(await first.reply(), { status: 'authenticated' });

    const crowd: Peer[] = [];
    for (let index = 0; index < 80; index += 1) crowd.push(await Peer.connect(t, port));
    const cpuMs = () => {
      const fields = readFileSync(`/proc/${gateway.child.pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
      return (Number(fields[11]) + Number(fields[12])) * 10;
    };
    const before = cpuMs();
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    t.ok(cpuMs() - before < 700, `it does not spin: ${cpuMs() - before} ms of CPU in a second`);
    t.equal(first.socket.destroyed, false);
    t.equal(gateway.child.exitCode, null);

    for (const { socket } of crowd) socket.destroy();
    // Those that still wait to be accepted come first, and have gone.
    for (;;) {
      const again = await Peer.connect(t, port);
      again.socket.write(helloOf('again'));
      const reply = await again.reply().catch(() => null);
      if (reply === null) continue;
      t.match(reply, { status: 'authenticated' });
      break;
    }
  },
);
