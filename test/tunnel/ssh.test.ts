import { createHash, randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { run } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { makeKey, sshOptions, startSshd } from '../support/sshd.ts';
import { startAgent, startProxy } from '../support/tunnel-bench.ts';

t.test(
  'a real ssh reaches a real sshd through the tunnel',
  requires('root', 'sshd', 'ssh', 'ssh-keygen'),
  async (t) => {
    const folder = t.testdir();
    const key = await makeKey(join(folder, 'id'), 'operator');
    await writeFile(join(folder, 'authorized_keys'), `${key.publicKey}\n`);
    const config = [
      `AuthorizedKeysFile ${join(folder, 'authorized_keys')}`,
      'AuthenticationMethods publickey',
      'PermitRootLogin prohibit-password',
      'UsePAM no',
    ];
    const sshd = await startSshd(join(folder, 'sshd'), config.join('\n'));
    t.teardown(() => sshd.stop());

    for (const mode of ['legacy', 'v1'] as const) {
      t.test(mode, async (t) => {
        const proxy = await startProxy(t, { mode });
        startAgent(t, proxy.port, { services: { ssh: sshd.port } });
        await proxy.nextAgent();
        const { port } = await proxy.openPublicPort(sshd.port);
        const knownHosts = join(folder, `known_hosts_${mode}`);
        await writeFile(knownHosts, `${sshd.knownHosts.replace(`:${sshd.port} `, `:${port} `)}\n`);
        const ssh = (command: string, input?: string) =>
          run('ssh', [...sshOptions(key.path, knownHosts), '-p', String(port), `${sshd.user}@127.0.0.1`, command], {
            ...(input !== undefined && { input }),
          });

        const where = await ssh('echo "$SSH_CONNECTION"');
        t.equal(where.code, 0, where.stderr);
        t.match(where.stdout, /^127\.0\.0\.77 \d+ 127\.0\.0\.1 /, 'sshd sees the source of the tunnel');

        const text = randomBytes(2_000_000).toString('hex');
        const sum = await ssh('sha256sum', text);
        t.match(sum.stdout, createHash('sha256').update(text).digest('hex'));
        const back = await ssh('cat', text);
        t.ok(back.stdout === text, '4 MB came back unharmed');
        t.equal((await ssh('exit 7')).code, 7);
      });
    }
  },
);
