import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { chmod, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { freePort, run } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { tunnelAgent } from '../support/service.ts';
import { hardenedConfig, makeKey, startSshd } from '../support/sshd.ts';
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
  const requests = () => device.service.log().split('\n').filter((line) => /key was set|refused: /.test(line)).length;
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
    const check = startPair(t, [...args, '--once'], { home });
    t.equal(await check.exit(), 0, check.stdout + check.stderr);
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
    t.match(deceived.stderr, /remove its line/);
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
  const back = await startSshd(folder, config, port);
  t.teardown(() => back.stop());
  await client.sees('connected', 2);
  t.equal(client.named('paired').length, 1);
});

t.test('two clients race: one gets the tunnel, the other says so and waits', needs, async (t) => {
  const device = await startDevice(t);
  await until('pairing to open', () => isReady(device.service));
  const clients = await Promise.all(
    [1, 2].map(async () => {
      const forward = `${await freePort()}:localhost:3240`;
      return startPair(t, [...device.args, '--forward', forward], { home: temporaryFolder(t) });
    }),
  );
  const connected = () => clients.filter((client) => client.named('connected').length > 0);
  await until('one to connect', () => connected().length > 0);
  const winner = connected()[0];
  const loser = clients.find((client) => client !== winner);
  const waiting = await loser?.sees('waiting');
  t.match(waiting, { reason: /^(overtaken|closed)$/ });
  await until('it to be told that pairing is closed', () =>
    loser?.named('waiting').some(({ reason, policy }) => reason === 'closed' && policy !== undefined),
  );
  t.equal(connected().length, 1, 'and no more than one has the tunnel');
  t.equal(winner?.named('lost').length, 0);
});

t.test('the key of an add-on that is there already is used as it is', needs, async (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'id_rsa');
  await run('ssh-keygen', ['-q', '-t', 'rsa', '-b', '2048', '-N', '', '-C', 'addon', '-f', path]);
  const before = readFileSync(path, 'utf8');
  await chmod(path, 0o644);
  const device = await startDevice(t);
  await until('pairing to open', () => isReady(device.service));
  const once = startPair(t, [...device.args, '--identity', path, '--once'], { home: folder });
  t.equal(await once.exit(), 0, once.stdout + once.stderr);
  t.match(once.named('identity')[0], { made: false, protected: true, file: path });
  t.equal(statSync(path).mode & 0o777, 0o600, 'others could read it');
  t.equal(readFileSync(path, 'utf8'), before);
  t.match(readFileSync(device.service.settings.ZEROFORCE_AUTHORIZED_KEYS_FILE ?? '', 'utf8'), /^ssh-rsa \S+ addon\n$/);
});

t.test('a key that cannot be used is refused in words', needs, async (t) => {
  const folder = temporaryFolder(t);
  const locked = join(folder, 'locked');
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', 'a passphrase', '-f', locked]);
  const wrong = join(folder, 'wrong');
  await writeFile(wrong, 'no key\n', { mode: 0o600 });
  const mixed = await makeKey(join(folder, 'mixed'), 'mixed');
  const stranger = await makeKey(join(folder, 'stranger'), 'stranger');
  await writeFile(`${mixed.path}.pub`, stranger.publicKey);
  for (const [path, sentence] of [
    [locked, /protected by a passphrase/],
    [wrong, /no private key/],
    [folder, /is no file/],
    [mixed.path, /belongs to another key/],
    ['/proc/none/key', /cannot make/],
  ] as const) {
    const { code, stderr } = await tunnelAgent(['pair', '127.0.0.1', '--identity', path, '--once'], { HOME: folder });
    t.equal(code, 1);
    t.match(stderr, sentence);
  }
});

t.test('a local port that is taken is an error of its own', needs, async (t) => {
  const device = await startDevice(t);
  await until('pairing to open', () => isReady(device.service));
  const server = createServer().listen(0, '127.0.0.1');
  t.teardown(() => server.close());
  await until('the port', () => server.listening);
  const { port } = server.address() as { port: number };
  const client = startPair(t, [...device.args, '--forward', `${port}:localhost:3240`], { home: temporaryFolder(t) });
  t.equal(await client.exit(), 8);
  t.match(client.named('failed')[0], { code: 'pair.port-taken' });
});
