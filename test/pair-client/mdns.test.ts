import { userInfo } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { untilStatus } from '../device/support.ts';
import { announcedDevice, bridge, type Machine, machine, NEEDS_NETWORK, untilAnnounced } from '../discovery/support.ts';
import { run } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { PROGRAM } from '../support/service.ts';
import { hardenedConfig, startSshd } from '../support/sshd.ts';
import { startPair, temporaryFolder } from './support.ts';

const needs = requires(...NEEDS_NETWORK, 'sshd', 'ssh', 'ssh-keygen', 'netstat', 'script');
const PORTS = { tunnel: 8107, http: 5107 };

/** The service and the hardened sshd on a machine of their own. */
async function deviceOn(t: Test, where: Machine, name: string) {
  const folder = temporaryFolder(t);
  const authorizedKeys = join(folder, 'authorized_keys');
  const wrapper = ['ip', 'netns', 'exec', where.namespace];
  const config = await hardenedConfig(authorizedKeys, PORTS.http);
  const place = { port: PORTS.tunnel, address: '0.0.0.0', wrapper };
  const sshd = await startSshd(join(folder, 'sshd'), config, place);
  t.teardown(() => sshd.stop());
  const service = await announcedDevice(t, where, name, {
    ZEROFORCE_AUTHORIZED_KEYS_FILE: authorizedKeys,
    ZEROFORCE_TUNNEL_PORT: String(PORTS.tunnel),
    ZEROFORCE_HTTP_PORT: String(PORTS.http),
  });
  await untilAnnounced(service, name, ['eth0']);
  return service;
}

t.test('devices are found, chosen and found again by mDNS', needs, async (t) => {
  const [client, one, two] = [machine(t), machine(t), machine(t)];
  bridge(t, 'lan', [client, 'eth0', '10.73.0.1/24'], [one, 'eth0', '10.73.0.2/24'], [two, 'eth0', '10.73.0.3/24']);
  client.ip('link', 'set', 'lo', 'up');
  const wrapper = ['ip', 'netns', 'exec', client.namespace];
  const home = temporaryFolder(t);
  const args = ['--user', userInfo().username];
  const options = { home, wrapper };

  await t.test('nothing found: once ends, and says what to check', async (t) => {
    const none = startPair(t, [...args, '--once'], options);
    t.equal(await none.exit(), 3);
    t.match(none.stderr, /no device answers by mDNS\n.*5353/);
  });

  const beamer = await deviceOn(t, one, 'beamer');
  let held = startPair(t, args, options);
  await t.test('the only one is found with its ports, paired, and held', async (t) => {
    await held.sees('forward');
    t.match(held.named('found')[0], {
      ...{ name: 'beamer', address: '10.73.0.2', tunnelPort: PORTS.tunnel, httpPort: PORTS.http, model: 'Beamer 2' },
    });
    t.equal(held.named('paired').length, 1);
  });

  await t.test('under another address it is found again, without pairing', async (t) => {
    one.ip('addr', 'del', '10.73.0.2/24', 'dev', 'eth0');
    one.ip('addr', 'add', '10.73.0.20/24', 'dev', 'eth0');
    await untilStatus(beamer, ({ mdns }) => JSON.stringify(mdns).includes('10.73.0.20'));
    await untilAnnounced(beamer, 'beamer', ['eth0']);
    // ssh would notice after 20 to 30 s that nobody answers any more.
    for (const pid of held.below()) process.kill(pid, 'SIGKILL');
    const again = await held.sees('connected', 2);
    t.equal(again.address, '10.73.0.20');
    t.equal(held.named('paired').length, 1);
    t.equal(await held.stop(), 143);
  });

  await deviceOn(t, two, 'recorder');
  await t.test('a second device changes nothing for a client that has one', async (t) => {
    held = startPair(t, args, options);
    await held.sees('connected');
    t.match(held.named('found')[0], { name: 'beamer' });
    t.strictSame(held.named('choose'), []);
    t.equal(await held.stop(), 143);
  });

  await t.test('a new client is told that there are two, and their names', async (t) => {
    const fresh = startPair(t, [...args, '--once'], { home: temporaryFolder(t), wrapper });
    t.equal(await fresh.exit(), 4);
    t.match(fresh.named('failed')[0]?.sentence, /beamer.*recorder|recorder.*beamer/);
    t.match(fresh.named('choose')[0], { devices: [{ tunnelPort: PORTS.tunnel }, { httpPort: PORTS.http }] });
  });

  await t.test('named by name or by .local it takes that one', async (t) => {
    for (const name of ['Recorder', 'recorder.local']) {
      const named = startPair(t, [name, ...args, '--once'], { home: temporaryFolder(t), wrapper });
      t.match(await named.sees('found'), { name: 'recorder', address: '10.73.0.3' });
      await named.end();
    }
  });

  await t.test('on a terminal one chooses from the list', async (t) => {
    const command = [PROGRAM, 'pair', ...args, '--once'].join(' ');
    const fresh = temporaryFolder(t);
    const [program = '', ...rest] = [...wrapper, 'script', '-qec', command, '/dev/null'];
    const { stdout } = await run(program, rest, {
      timeoutMs: 8_000,
      env: { PATH: process.env.PATH, HOME: fresh, XDG_RUNTIME_DIR: fresh, TERM: 'xterm' },
      input: '1\n',
    });
    t.match(stdout, /1 {2}\S+ {2}10\.73\.0\.\d+:8107 {2}Beamer 2\r\n {2}2 {2}/);
    t.match(stdout, /Which one\? \[1-2\]/);
    t.match(stdout, /device: (beamer|recorder) at /);
  });
});
