import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { requestControl } from '../../src/control/client.ts';
import { keyEvent } from '../reset/support.ts';
import { descendants, freePort, run } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { type Service, startService, tunnelAgent } from '../support/service.ts';
import { hardenedConfig, holdSsh, makeKey, sshOptions, startSshd } from '../support/sshd.ts';
import { until } from '../support/until.ts';
import { device, end, isReady, logLine, setKey, statusOf, temporaryFolder, untilStatus } from './support.ts';

const keyFileOf = ({ settings }: Service) => settings.ZEROFORCE_AUTHORIZED_KEYS_FILE ?? '';
const markerOf = ({ settings }: Service) => join(settings.ZEROFORCE_STATE_DIR ?? '', 'ever-paired');

async function auditOf({ settings }: Service): Promise<{ what: string; source: string; fingerprint?: string }[]> {
  const { code, stdout, stderr } = await tunnelAgent(['pairing', 'audit', '--json'], settings);
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

const whatOf = async (service: Service) => (await auditOf(service)).map(({ what, source }) => `${what} ${source}`);

/** A service that was paired; pairing would not open by itself. */
async function paired(t: Test, settings: Record<string, string> = {}) {
  const folder = temporaryFolder(t);
  const service = await device(t, settings, { folder });
  const { publicKey } = await makeKey(join(folder, 'key'), 'home');
  t.equal((await setKey(service, publicKey)).status, 200);
  t.ok(existsSync(markerOf(service)));
  return { service, folder, publicKey };
}

const isAsNew = async (t: Test, service: Service) => {
  t.equal(existsSync(keyFileOf(service)), false, 'no key');
  t.equal(existsSync(markerOf(service)), false, 'no marker');
  const { pairing } = await untilStatus(service, ({ pairing }) => pairing.open);
  t.match(pairing, { open: true, everPaired: false, key: null, reason: 'the device has never been paired' });
};

t.test(
  'reset by command: the real tunnel ends, its key is refused, and somebody else can pair',
  requires('sshd', 'ssh', 'ssh-keygen', 'netstat'),
  async (t) => {
    const folder = temporaryFolder(t);
    const keyFile = join(folder, 'ssh', 'authorized_keys');
    const sshd = await startSshd(join(folder, 'sshd'), await hardenedConfig(keyFile, await freePort()));
    t.teardown(() => sshd.stop());
    const knownHosts = join(folder, 'known_hosts');
    writeFileSync(knownHosts, `${sshd.knownHosts}\n`);
    const service = await device(t, { ZEROFORCE_TUNNEL_PORT: String(sshd.port) }, { folder });
    const [first, second] = [await makeKey(join(folder, 'one'), 'one'), await makeKey(join(folder, 'two'), 'two')];
    const tunnel = async (key: string) => {
      const forward = `${await freePort()}:localhost:3240`;
      const to = ['-p', String(sshd.port), '-L', forward, `${sshd.user}@127.0.0.1`];
      const held = await holdSsh([...sshOptions(key, knownHosts), ...to]);
      t.teardown(() => held.stop());
      return held;
    };

    t.equal((await setKey(service, first.publicKey)).status, 200);
    const held = await tunnel(first.path);
    await untilStatus(service, ({ pairing }) => pairing.tunnel === 'active');
    const ended = once(held.child, 'exit');
    const { code, stdout, stderr } = await tunnelAgent(['pairing', 'reset', '--yes'], service.settings);
    t.equal(code, 0, stderr);
    t.match(stdout, /Pairing was reset.*\nThe tunnel of that key was ended/);
    await ended;
    await isAsNew(t, service);
    await t.rejects(tunnel(first.path), /Permission denied/);

    // The one that was refused may have been seen as a tunnel; a reset of nothing does no harm.
    await tunnelAgent(['pairing', 'reset', '--yes'], service.settings);
    await isAsNew(t, service);
    t.equal((await setKey(service, second.publicKey)).status, 200);
    await tunnel(second.path);
    await untilStatus(service, ({ pairing }) => pairing.tunnel === 'active' && pairing.everPaired);
    t.strictSame(await whatOf(service), ['key-set 127.0.0.1', 'reset local', 'reset local', 'key-set 127.0.0.1']);
    const [set] = await auditOf(service);
    const listed = await run('ssh-keygen', ['-lf', `${first.path}.pub`]);
    t.equal(set?.fingerprint, listed.stdout.split(' ')[1]);
  },
);

t.test('the boot file resets at the start, once; with the same content it does nothing more', async (t) => {
  const { service, folder, publicKey } = await paired(t);
  await service.stop();
  mkdirSync(join(folder, 'boot'));
  const bootFile = service.settings.ZEROFORCE_RESET_FILE ?? '';
  writeFileSync(bootFile, '');

  const second = await device(t, service.settings, { folder });
  await isAsNew(t, second);
  t.strictSame((await whatOf(second)).slice(1), ['reset boot file']);
  t.equal((await setKey(second, publicKey)).status, 200);
  writeFileSync(bootFile, 'while it runs');
  await second.stop();
  writeFileSync(bootFile, '');

  const third = await device(t, service.settings, { folder });
  t.match((await statusOf(third)).pairing, { open: false, everPaired: true, key: { type: 'ssh-ed25519' } });
});

t.test('a boot file that cannot be remembered is not acted on, and the status says why', async (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'boot'));
  writeFileSync(join(folder, 'boot', 'zeroforce-reset'), '');
  writeFileSync(join(folder, 'state'), 'in the way');
  mkdirSync(join(folder, 'ssh'), { mode: 0o700 });
  const { publicKey } = await makeKey(join(folder, 'key'), 'home');
  writeFileSync(join(folder, 'ssh', 'authorized_keys'), `${publicKey}\n`, { mode: 0o600 });
  const service = await device(t, {}, { folder });
  t.ok(existsSync(keyFileOf(service)));
  const { faults, pairing } = await statusOf(service);
  t.equal(pairing.open, false);
  t.ok(faults.some(({ code }) => code.startsWith('state.')));
});

t.test('the button, held for 10 s of real time, resets; the service stops at once while it waits for it', async (t) => {
  const folder = temporaryFolder(t);
  const button = join(folder, 'event0');
  execFileSync('mkfifo', [button]);
  const service = await device(t, { ZEROFORCE_RESET_BUTTON: button }, { folder });
  const writer = await open(button, 'w');
  t.teardown(() => writer.close().catch(() => undefined));
  const { publicKey } = await makeKey(join(folder, 'key'), 'home');
  t.equal((await setKey(service, publicKey)).status, 200);
  await writer.write(keyEvent(1));
  await until('the press', () => logLine(service, 'the reset button is pressed'));
  const pressedMs = performance.now();
  await until('the reset', () => logLine(service, 'pairing was reset'));
  t.ok(performance.now() - pressedMs > 9_900, 'not before');
  await isAsNew(t, service);
  t.ok((await whatOf(service)).includes('reset button'));
  const startMs = performance.now();
  t.equal(await service.stop(), 0);
  t.ok(performance.now() - startMs < 3_000);
});

t.test('a service that is killed leaves nobody behind who reads the button', async (t) => {
  const folder = temporaryFolder(t);
  const button = join(folder, 'event0');
  execFileSync('mkfifo', [button]);
  const service = await device(t, { ZEROFORCE_RESET_BUTTON: button }, { folder });
  const reads = (pid: number) => readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(button);
  const readers = await until('who reads', () => {
    const pids = descendants(service.pid).filter(reads);
    return pids.length === 2 && pids;
  });
  await end(service, 'SIGKILL');
  await until('their end', () => readers.every((pid) => !existsSync(`/proc/${pid}`)));
});

t.test('a button that is not there is a fault with what to do, and all else works', async (t) => {
  const service = await device(t, { ZEROFORCE_RESET_BUTTON: '/nowhere/event0' });
  const { faults } = await untilStatus(service, ({ faults }) => faults.length > 0);
  t.match(faults, [{ code: 'reset.button-unavailable', sentence: /\/nowhere\/event0/ }]);
  t.equal(await isReady(service), true);
});

t.test('a reset in the middle of a setkey leaves a key that is remembered, or none', async (t) => {
  const { service, folder } = await paired(t, { ZEROFORCE_PAIRING_TIMEOUT: '0' });
  const { publicKey } = await makeKey(join(folder, 'other'), 'other');
  const outcomes = new Set<string>();
  for (let count = 0; count < 20; count += 1) {
    const reset = requestControl(service.settings.ZEROFORCE_RUN_DIR ?? '', 'POST /pairing/reset', {
      timeoutMs: 20_000,
    });
    const sets = [setKey(service, publicKey), setKey(service, publicKey)];
    await reset;
    for (const { status } of await Promise.all(sets)) t.ok([200, 403, 429].includes(status), String(status));
    const [key, marker] = [existsSync(keyFileOf(service)), existsSync(markerOf(service))];
    outcomes.add(`key ${key}, marker ${marker}`);
    t.equal(key, marker);
  }
  t.comment([...outcomes].join('; '));
});

t.test('nobody resets, opens or reads anything of it by HTTP', async (t) => {
  const { service } = await paired(t);
  for (const path of ['/pairing/reset', '/zeroforce/reset', '/pairing/open', '/zeroforce/pairing/reset']) {
    t.equal((await fetch(`${service.url}${path}`, { method: 'POST' })).status, 404, path);
  }
  t.equal((await fetch(`${service.url}/pairing/audit`)).status, 404);
  t.ok(existsSync(keyFileOf(service)));
});

t.test('without a service the command resets the files, and what is on record can be read', async (t) => {
  const { service, folder } = await paired(t);
  await service.stop();
  const { code, stdout, stderr } = await tunnelAgent(['pairing', 'reset', '--yes'], service.settings);
  t.equal(stderr, '');
  t.equal(code, 0);
  t.match(stdout, /^Pairing was reset/);
  t.notOk(existsSync(keyFileOf(service)));
  t.notOk(existsSync(markerOf(service)));
  t.strictSame(await whatOf(service), ['key-set 127.0.0.1', 'reset local']);
  t.notOk(existsSync(join(folder, 'run', 'control.sock')), 'the lock is given back');
  const next = await startService(folder, service.settings);
  t.teardown(() => next.stop('SIGKILL'));
  await isAsNew(t, next);
});

t.test('what holds the control socket and does not answer keeps the command from the files', async (t) => {
  const { service } = await paired(t);
  await service.stop();
  const server = createServer((socket) => socket.destroy());
  t.teardown(() => server.close());
  server.listen(join(service.settings.ZEROFORCE_RUN_DIR ?? '', 'control.sock'));
  await once(server, 'listening');
  const { code, stderr } = await tunnelAgent(['pairing', 'reset', '--yes'], service.settings);
  t.equal(code, 1);
  t.match(stderr, /service\.no-answer/);
  t.ok(existsSync(keyFileOf(service)));
});

t.test(
  'files of another user are left alone: the service could not write them afterwards',
  requires('root'),
  async (t) => {
    const { service, folder } = await paired(t);
    await service.stop();
    chownSync(join(folder, 'state'), 12_345, 12_345);
    const { code, stderr } = await tunnelAgent(['pairing', 'reset', '--yes'], service.settings);
    t.equal(code, 1);
    t.match(stderr, /belongs to user 12345.*\n {2}service\.not-permitted: /);
    t.ok(existsSync(keyFileOf(service)));
  },
);

t.test('killed in the middle of a reset: the next start finds all as it was, or completes it', async (t) => {
  const found = new Set<string>();
  const { service, folder, publicKey } = await paired(t);
  let running = service;
  for (const afterMs of [0, 1, 3, 6, 12, 25]) {
    if (!existsSync(keyFileOf(running))) t.equal((await setKey(running, publicKey)).status, 200);
    void requestControl(running.settings.ZEROFORCE_RUN_DIR ?? '', 'POST /pairing/reset').catch(() => undefined);
    await sleep(afterMs);
    await end(running, 'SIGKILL');
    running = await device(t, service.settings, { folder });
    const { key, everPaired, open: isOpen } = (await statusOf(running)).pairing;
    found.add(`${afterMs} ms: ${key === null ? 'reset' : 'as it was'}`);
    t.equal(existsSync(markerOf(running)), key !== null, 'never a key that is forgotten, never a memory without a key');
    t.strictSame({ everPaired, isOpen }, { everPaired: key !== null, isOpen: key === null });
  }
  t.comment([...found].join('; '));
});

t.test('killed between key and marker: the next start completes the reset', async (t) => {
  const { service, folder } = await paired(t);
  await end(service, 'SIGKILL');
  writeFileSync(join(folder, 'state', 'reset.json'), JSON.stringify({ bootFile: null, underWay: 'local' }));
  rmSync(keyFileOf(service));
  const next = await device(t, service.settings, { folder });
  await isAsNew(t, next);
  t.ok(logLine(next, 'a reset was cut short'));
  t.match(readFileSync(join(folder, 'state', 'reset.json'), 'utf8'), '"underWay":null');
});
