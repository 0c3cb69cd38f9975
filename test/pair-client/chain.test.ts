import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { freePort, run } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { hardenedConfig, startSshd } from '../support/sshd.ts';
import { until } from '../support/until.ts';
import { isReady, pathTo, startDevice, startPair, temporaryFolder } from './support.ts';

const needs = requires('sshd', 'ssh', 'ssh-keygen', 'netstat');
const IDENTITY = '.config/zeroforce/id_ed25519';

t.test('a fresh device, a fresh client, and every restart after that', needs, async (t) => {
  const device = await startDevice(t);
  await until('pairing to open', () => isReady(device.service));
  const home = temporaryFolder(t);
  const localPort = await freePort();
  const args = [...device.args, '--forward', `${localPort}:localhost:${device.httpPort}`];
  const throughTunnel = async () => {
    const answer = await fetch(`http://127.0.0.1:${localPort}/zeroforce/info`);
    return (await answer.json()) as unknown;
  };
  const requests = () =>
    device.service
      .log()
      .split('\n')
      .filter((line) => /key was set|refused: /.test(line)).length;
  const client = startPair(t, args, { home });

  await t.test('it makes a key, sends it, and a byte goes through the forward', async (t) => {
    await client.sees('forward');
    t.strictSame(
      client.events.map(({ event }) => event),
      ['identity', 'found', 'paired', 'connecting', 'connected', 'forward'],
      'a new key is not tried before it was sent',
    );
    t.match(await throughTunnel(), { hostname: /./ });
    t.equal(statSync(join(home, IDENTITY)).mode & 0o777, 0o600);
    const files = readdirSync(join(home, '.config/zeroforce')).sort();
    t.equal(files.length, 2, 'the key and the host key, and nothing else');
    t.match(files[1], /^id_ed25519\.127\.0\.0\.1\.known_hosts$/);
  });

  await t.test('nothing secret and nothing of the target stands in the arguments of a process', async (t) => {
    const lines = client.below().map((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' '));
    t.equal(lines.length, 1);
    t.match(lines[0], /^ssh -N -F \S+\/config zeroforce $/);
  });

  await t.test('a second process with the same key says so, instead of taking the tunnel away', async (t) => {
    const second = startPair(t, args, { home });
    t.equal(await second.exit(), 1);
    t.match(second.named('failed')[0], { code: 'pair.running', exitCode: 1 });
  });

  await t.test('but --once only checks the key', async (t) => {
    const runFolders = join(home, 'run');
    mkdirSync(runFolders);
    const check = startPair(t, [...args, '--once'], { home, env: { XDG_RUNTIME_DIR: runFolders } });
    t.equal(await check.exit(), 0, check.stdout + check.stderr);
    t.strictSame(readdirSync(runFolders), [], 'it leaves nothing behind');
    t.strictSame(check.events.at(-1)?.event, 'verified');
    t.match(await throughTunnel(), { hostname: /./ }, 'the tunnel stands as before');
  });

  await t.test('SIGTERM ends it with 143 and leaves no ssh behind', async (t) => {
    const below = client.below();
    t.equal(await client.stop('SIGTERM'), 143);
    t.match(client.events.at(-1), { event: 'stopped', signal: 'SIGTERM', exitCode: 143 });
    t.notOk(below.some((pid) => existsSync(`/proc/${pid}`)));
  });

  await t.test('after a restart nothing is asked and nothing is sent', async (t) => {
    const before = requests();
    const again = startPair(t, args, { home });
    await again.sees('forward');
    t.strictSame(
      again.events.map(({ event }) => event),
      ['identity', 'found', 'connecting', 'connected', 'forward'],
    );
    t.match(again.named('connected')[0], { firstUse: false });
    t.equal(requests(), before);

    again.child.kill('SIGKILL');
    await again.exit();
    const third = startPair(t, args, { home });
    await third.sees('forward');
    t.match(await throughTunnel(), { hostname: /./ }, 'also where a killed one had left its ssh with the port');
    t.equal(await third.stop('SIGINT'), 130);
  });

  await t.test('a changed host key is told from everything else, and the remedy names the file', async (t) => {
    const authorizedKeys = device.service.settings.ZEROFORCE_AUTHORIZED_KEYS_FILE ?? '';
    const other = await startSshd(join(device.folder, 'other'), await hardenedConfig(authorizedKeys, device.httpPort));
    t.teardown(() => other.stop());
    const deceived = startPair(t, pathTo(other.port, device.httpPort), { home });
    t.equal(await deceived.exit(), 6);
    t.match(deceived.named('failed')[0], { code: 'pair.host-key', exitCode: 6, sentence: /known_hosts/ });
    t.match(deceived.stderr, /remove the file/);
  });
});

t.test('a device that goes away and comes back is reached again, without pairing', needs, async (t) => {
  const device = await startDevice(t);
  await until('pairing to open', () => isReady(device.service));
  const home = temporaryFolder(t);
  const client = startPair(t, [...device.args, '--forward', `${await freePort()}:localhost:3240`], { home });
  await client.sees('forward');
  const port = device.sshd.port;
  await device.sshd.stop();
  for (const pid of (await run('ss', ['-tnpH', `sport = :${port}`])).stdout.matchAll(/pid=(\d+)/g)) {
    process.kill(Number(pid[1]), 'SIGTERM'); // the sshd of this session, which outlives its parent
  }
  await client.sees('lost');
  await client.sees('retry');
  const config = await hardenedConfig(device.service.settings.ZEROFORCE_AUTHORIZED_KEYS_FILE ?? '', device.httpPort);
  const folder = join(device.folder, 'sshd');
  const back = await startSshd(folder, config, { port });
  t.teardown(() => back.stop());
  await client.sees('connected', 2);
  t.equal(client.named('paired').length, 1);
});
