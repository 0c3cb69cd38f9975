import { createHash, randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { AgentEntry } from '../../../src/gateway/agents/listener.ts';
import { createCore } from '../../../src/gateway/core.ts';
import { Secrets } from '../../../src/gateway/secrets.ts';
import { systemClock } from '../../../src/support/clock.ts';
import { freePort, run } from '../../support/processes.ts';
import { requires } from '../../support/requires.ts';
import { startService } from '../../support/service.ts';
import { makeKey, sshOptions, startSshd } from '../../support/sshd.ts';
import { testLog } from '../../support/test-log.ts';
import { until } from '../../support/until.ts';
import { MemoryStore } from '../memory-store.ts';
import { DEVICE_KEY, TOKEN } from './support.ts';

t.test(
  'a real ssh reaches a real sshd: public port, gateway, device service, sshd',
  requires('root', 'sshd', 'ssh', 'ssh-keygen'),
  async (t) => {
    const folder = t.testdir();
    const key = await makeKey(join(folder, 'id'), 'operator');
    await writeFile(join(folder, 'authorized_keys'), `${key.publicKey}\n`);
    const config = [
      `AuthorizedKeysFile ${join(folder, 'authorized_keys')}`,
      'PermitRootLogin prohibit-password',
      'UsePAM no',
    ];
    const sshd = await startSshd(join(folder, 'sshd'), config.join('\n'));
    t.teardown(() => sshd.stop());

    const { log } = testLog();
    const start = await freePort();
    const core = createCore({
      store: new MemoryStore(),
      secrets: await Secrets.open(folder),
      config: {
        bindHost: '127.0.0.1',
        portRange: { start, end: start + 50 },
        leaseMs: 60_000,
        connectionRate: 10,
        maxPending: 50,
      },
      clock: systemClock,
      nowMs: Date.now,
      log,
    });
    await core.load();
    t.teardown(() => core.stop());
    const { host, operations } = core;
    await operations.create({
      key: DEVICE_KEY,
      tokenCode: TOKEN,
      type: 'beamer',
      distribution: '',
      productSerial: null,
    });
    await operations.setForwards(DEVICE_KEY, [{ name: 'ssh', localPort: sshd.port }]);
    const entry = new AgentEntry({
      host: '127.0.0.1',
      port: 0,
      tls: 'off',
      handshakeTimeoutMs: 10_000,
      keepaliveMs: 30_000,
      entryHost: host,
      certificate: null,
      clock: systemClock,
      nowMs: Date.now,
      log,
    });
    await entry.start();
    t.teardown(() => entry.stop());
    const service = await startService(join(folder, 'device'), {
      MEETING_DEVICE_KEY: DEVICE_KEY,
      MEETING_TOKEN: TOKEN,
      MEETING_PROXY_HOST: '127.0.0.1',
      MEETING_PROXY_PORT: String(entry.address?.port),
      ZEROFORCE_SERVICES: `ssh=${sshd.port}`,
    });
    t.teardown(() => service.stop());
    await until('the device to be online', () => operations.sessions().length === 1);

    const { port } = await operations.open(DEVICE_KEY, 'ssh', null);
    const knownHosts = join(folder, 'known_hosts');
    await writeFile(knownHosts, `${sshd.knownHosts.replace(`:${sshd.port} `, `:${port} `)}\n`);
    const ssh = (command: string, input?: string) =>
      run('ssh', [...sshOptions(key.path, knownHosts), '-p', String(port), `${sshd.user}@127.0.0.1`, command], {
        ...(input !== undefined && { input }),
      });
    const where = await ssh('echo "$SSH_CONNECTION"');
    t.match(where.stdout, /^127\.0\.0\.77 \d+ 127\.0\.0\.1 /, where.stderr);
    const text = randomBytes(2_000_000).toString('hex');
    t.match((await ssh('sha256sum', text)).stdout, createHash('sha256').update(text).digest('hex'));
    t.ok((await ssh('cat', text)).stdout === text, '4 MB came back unharmed');
    t.equal((await ssh('exit 7')).code, 7);

    await service.stop('SIGKILL');
    await until('the device to be offline', () => operations.sessions().length === 0);
    await t.rejects(operations.open(DEVICE_KEY, 'ssh', null), { code: 'gateway.device-offline' });
  },
);
