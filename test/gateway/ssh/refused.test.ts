import { once } from 'node:events';
import { connect } from 'node:net';
import t from 'tap';
import { freePort, run } from '../../support/processes.ts';
import { requires } from '../../support/requires.ts';
import { startEcho } from '../../support/tcp-services.ts';
import { until } from '../../support/until.ts';
import { remotes, runSsh, sshArgs, startSsh } from './client.ts';
import { startGateway, temporaryFolder } from './support.ts';

// wire 5.4: nothing but remote forwards.

t.test('a shell, a command, a subsystem, with all that can come along', requires('ssh'), async (t) => {
  const gateway = await startGateway(t);
  const token = await gateway.add('device-a');
  for (const [what, args, command] of [
    ['a shell', [], []],
    ['a shell with a terminal', ['-tt'], []],
    ['a command', [], ['id']],
    ['a command with a terminal', ['-tt'], ['id']],
    ['a subsystem', ['-s'], ['sftp']],
    ['agent forwarding', ['-A'], ['id']],
    ['X11', ['-X', '-o', 'ForwardX11Timeout=0'], ['id']],
    ['environment', ['-o', 'SetEnv=A=1'], ['id']],
    ['standard input and output', ['-W', 'localhost:22'], []],
  ] as const) {
    const { code, stdout, stderr } = await runSsh(gateway.port, token, args, command);
    t.equal(code, 255, what);
    t.match(stderr, /open failed: administratively prohibited|stdio forwarding failed/, what);
    t.equal(stdout, '', what);
  }
  const tun = await runSsh(gateway.port, token, ['-w', '0:0', '-o', 'ExitOnForwardFailure=yes', '-N']);
  t.equal(tun.code, 255, 'a tun device');
});

t.test('sftp and scp', requires('sftp', 'scp'), async (t) => {
  const gateway = await startGateway(t);
  const token = await gateway.add('device-a');
  const options = sshArgs(gateway.port, token, []).slice(0, -3); // without port and target
  const port = ['-P', String(gateway.port)];
  const folder = await temporaryFolder(t);
  const { code } = await run('sftp', [...options, ...port, '-b', '/dev/null', `${token}@127.0.0.1`]);
  t.equal(code, 255);
  t.equal((await run('scp', [...options, ...port, `${token}@127.0.0.1:/etc/hostname`, folder])).code, 255);
});

t.test('connections from the gateway to anywhere: -L, -D, and sockets', requires('ssh'), async (t) => {
  const gateway = await startGateway(t);
  const token = await gateway.add('device-a');
  const target = await startEcho();
  t.teardown(() => target.close());
  const [local, dynamic] = [await freePort(), await freePort()];
  const folder = await temporaryFolder(t);
  const client = startSsh(t, gateway.port, token, [
    '-N',
    ...[
      '-L',
      `127.0.0.1:${local}:127.0.0.1:${target.port}`,
      '-L',
      `${folder}/s:${folder}/t`,
      '-D',
      `127.0.0.1:${dynamic}`,
    ],
    ...['-R', `${folder}/on-the-gateway:localhost:1`, ...remotes(target.port)],
  ]);
  await client.ports(1);
  t.match(client.stderr(), /remote port forwarding failed|streamlocal/i);
  const socket = connect(local, '127.0.0.1');
  socket.on('error', () => undefined);
  socket.resume();
  await once(socket, 'close');
  const socks = connect(dynamic, '127.0.0.1');
  socks.on('error', () => undefined);
  socks.resume();
  socks.write(Buffer.from([4, 1, target.port >> 8, target.port & 255, 127, 0, 0, 1, 0]));
  await once(socks, 'close');
  const unix = connect(`${folder}/s`);
  unix.on('error', () => undefined);
  unix.resume();
  await once(unix, 'close');
  await until('three refusals', () => [...client.stderr().matchAll(/administratively prohibited/g)].length === 3);
  t.equal(target.sockets.size, 0, 'nobody came to the target');
  const session = gateway.core.sessions.current('device-a');
  t.strictSame([session?.facts().streams, session?.facts().opened], [0, 0], 'the session goes on');
});
