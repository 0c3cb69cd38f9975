import { execFileSync } from 'node:child_process';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { FAR, network } from '../support/network.ts';
import { requires } from '../support/requires.ts';
import {
  failureOf,
  GATEWAY_NEEDS,
  remote,
  sshOptions,
  startGateway,
  startRun,
  temporaryFolder,
} from '../support/ssh-gateway.ts';

/** An ssh that runs at the near end of a network. */
async function sshIn(t: Test, prefix: string[], program: string): Promise<string> {
  const path = join(await temporaryFolder(t), 'ssh');
  await writeFile(path, `#!/bin/sh\nexec ${prefix.join(' ')} ${program} "$@"\n`);
  await chmod(path, 0o755);
  return path;
}

t.test('a gateway at the other end of a cable', requires('ip', ...GATEWAY_NEEDS), async (t) => {
  const { inNear, inFar, cut, mend } = network(t);
  const gateway = await startGateway(t, { address: FAR, prefix: inFar });
  const plain = await sshOptions(t, gateway);
  const options = { ...plain, program: await sshIn(t, inNear, plain.program), host: FAR, forwards: [remote(22)] };

  t.test('that refuses one of two forwards is not taken for one that stands', async (t) => {
    // It has a single port to give.
    const range = (ports: string) =>
      execFileSync(inFar[0] ?? '', [...inFar.slice(1), 'sysctl', '-qw', `net.ipv4.ip_local_port_range=${ports}`]);
    range('40000 40000');
    t.teardown(() => range('32768 60999'));
    const failure = await failureOf(t, { ...options, forwards: [remote(22), remote(80)] });
    t.equal(failure.code, 'ssh.forward-refused');
    t.equal(failure.message, `${FAR}:${gateway.port} refused remote forward 2 of 2, to 127.0.0.1:80`);
  });

  t.test('that is gone without a word is noticed within 45 s, and found again', async (t) => {
    const run = startRun(t, options);
    await run.up;
    const cutAtMs = performance.now();
    cut();
    const { failure, heldMs } = await run.end;
    const seconds = (performance.now() - cutAtMs) / 1000;
    t.equal(failure?.code, 'session.peer-dead');
    t.ok(seconds < 45, `after ${seconds.toFixed(1)} s`);
    t.ok(heldMs > 10_000);

    const failed = await failureOf(t, { ...options, connectTimeoutMs: 1_000 });
    t.equal(failed.code, 'ssh.timeout', failed.message);
    mend();
    await startRun(t, options).up;
  });
});
