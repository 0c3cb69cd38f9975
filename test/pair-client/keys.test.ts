import { readFileSync, statSync } from 'node:fs';
import { chmod, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { freePort, run } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { tunnelAgent } from '../support/service.ts';
import { makeKey } from '../support/sshd.ts';
import { until } from '../support/until.ts';
import { isReady, startDevice, startPair, temporaryFolder } from './support.ts';

const needs = requires('sshd', 'ssh', 'ssh-keygen', 'netstat');

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
