import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer, connect as dial, type Server } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { loadHostKey } from '../../../src/gateway/ssh/host-key.ts';
import { SshEntry } from '../../../src/gateway/ssh/listener.ts';
import { systemClock } from '../../../src/support/clock.ts';
import { requires } from '../../support/requires.ts';
import { listen } from '../../support/tcp-services.ts';
import { testLog } from '../../support/test-log.ts';
import { until } from '../../support/until.ts';
import { type DeviceRoot, deviceRoot, ROOT_NEEDS } from './device-root.ts';
import { type Api, KEY, startApi } from './support.ts';

// The script as the gateway gives it out, run in a root of its own, against the real SSH entry of the gateway.

const NEEDS = requires(...ROOT_NEEDS, 'ssh', 'autossh', 'busybox');
const tunnel = (rest: string) => `/api/tunnel/servers/${KEY}/${rest}`;

interface Bench {
  api: Api;
  root: DeviceRoot;
  token: string;
  /** The script as it is given out now. */
  script(): Promise<string>;
  /** Through the public port of the service: what the device says there. */
  greeting(service: string): Promise<string>;
  online(): boolean;
}

async function bench(t: Test): Promise<Bench> {
  const root = await deviceRoot(t);
  const { log } = testLog();
  const hostKey = await loadHostKey(join(root.path, 'tmp'), log);
  // The entry has to be there before the API, which names its port.
  const later: { api?: Api } = {};
  const host = new Proxy({} as Api['core']['host'], {
    get: (_target, name) => {
      const real = later.api?.core.host as unknown as Record<PropertyKey, (...args: unknown[]) => unknown>;
      return (...args: unknown[]) => real[name]?.apply(real, args);
    },
  });
  const entry = new SshEntry({
    listen: { host: '127.0.0.1', port: 0 },
    hostKey,
    host,
    handshakeTimeoutMs: 10_000,
    keepalive: { intervalMs: 30_000, timeoutMs: 15_000 },
    clock: systemClock,
    nowMs: Date.now,
    log,
  });
  await entry.start();
  const sshPort = entry.address()?.port ?? 0;
  const api = await startApi(t, { publicHost: '127.0.0.1', sshPort, hostKey: hostKey.publicKey });
  later.api = api;
  t.teardown(() => entry.stop());
  await api.addDevice();
  const services = { ssh: await says(t, 'I am ssh'), http: await says(t, 'I am http') };
  const forwards = Object.entries(services).map(([service_name, local_port]) => ({ service_name, local_port }));
  await api.call(`PUT ${tunnel('forwards')}`, { body: { forwards } });
  const { token } = (await api.call(`POST ${tunnel('token')}`)).body as { token: string };
  return {
    api,
    root,
    token,
    async script() {
      const answer = await until('the script', async () => {
        const one = await api.call(`GET /tunnel/setup/${token}`, { as: null });
        return one.status === 429 ? null : one;
      });
      t.equal(answer.headers['content-type'], 'text/x-sh; charset=utf-8');
      return answer.text;
    },
    async greeting(service) {
      const status = (await api.call(`GET ${tunnel('status')}`)).body as { services: Record<string, unknown>[] };
      const found = status.services.find(({ service_name }) => service_name === service);
      return greetingAt(Number(found?.tunnel_port));
    },
    online: () => api.core.sessions.current(KEY) !== null,
  };
}

/** A service that says one thing; gives its port. */
async function says(t: Test, words: string): Promise<number> {
  const server: Server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.end(words);
  });
  t.teardown(() => server.close());
  return listen(server);
}

function greetingAt(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = dial(port, '127.0.0.1');
    let text = '';
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    socket.on('error', reject);
    socket.on('end', () => resolve(text));
  });
}

/** Command lines of all processes of this machine that hold the words. */
function commandLinesWith(words: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      } catch {
        return ''; // ended meanwhile
      }
    })
    .filter((line) => line.includes(words));
}

t.test('on BusyBox: connects, says the ports, runs as a service; again; and away', NEEDS, async (t) => {
  const { api, root, token, script, greeting, online } = await bench(t);
  mkdirSync(join(root.path, 'etc/init.d'), { recursive: true });
  writeFileSync(join(root.path, 'etc/init.d/rcS'), 'for i in /etc/init.d/S??* ;do\n', { mode: 0o755 });

  const seen: string[] = [];
  const watching = setInterval(() => seen.push(...commandLinesWith(token)), 10);
  t.teardown(() => clearInterval(watching));
  // As `curl … | sh` would: the script comes from standard input.
  const { code, stdout, stderr } = await root.run('busybox', ['ash'], { input: await script() });
  clearInterval(watching);
  t.equal(code, 0, stderr);
  t.match(stdout, /^Port \d+ of the gateway leads to localhost:\d+ here\.\nPort \d+ .*\nThe service .* runs/);
  t.strictSame(seen, [], 'the token was in no command line');
  await until('the service to be connected', online);
  t.equal(await until('ssh', () => greeting('ssh').catch(() => null)), 'I am ssh');
  t.equal(await until('http', () => greeting('http').catch(() => null)), 'I am http');
  const [running = ''] = commandLinesWith('autossh');
  t.match(running, /-M 0 -N -F \/etc\/zeroforce-tunnel\/ssh_config zeroforce-gateway/);
  t.equal(statSync(join(root.path, 'etc/zeroforce-tunnel/ssh_config')).mode & 0o777, 0o600);
  t.strictSame(readdirSync(join(root.path, 'etc/zeroforce-tunnel')).sort(), ['known_hosts', 'ssh_config']);

  const again = await root.run('dash', ['-s', '--', '--init', 'busybox'], { input: await script() });
  t.equal(again.code, 0, again.stderr);
  await until('the service to be connected again', online);
  t.equal(commandLinesWith('/etc/zeroforce-tunnel').filter((line) => /autossh /.test(line)).length, 1, 'one service');

  // The session ends; autossh brings it back by itself.
  const before = api.core.sessions.current(KEY);
  await api.call(`POST ${tunnel('disconnect')}`);
  await until('autossh to come back', () => online() && api.core.sessions.current(KEY) !== before);

  const init = '/etc/init.d/S95zeroforce-tunnel';
  t.equal((await root.run(init, ['status'])).code, 0);
  t.equal((await root.run(init, ['stop'])).code, 0);
  await until('it to be offline', () => !online());
  t.equal((await root.run(init, ['status'])).code, 1);
  t.equal((await root.run(init, ['start'])).code, 0, 'as at the start of the machine');
  await until('it to be online', online);

  const removed = await root.run('sh', ['-s', '--', '--uninstall'], { input: await script() });
  t.equal(removed.code, 0, removed.stderr);
  await until('it to be offline', () => !online());
  t.notOk(readdirSync(join(root.path, 'etc')).includes('zeroforce-tunnel'));
  t.strictSame(commandLinesWith('/etc/zeroforce-tunnel'), []);
});

/** Does of systemctl what the script asks for, with the unit as it was written. */
const SYSTEMCTL = `#!/bin/sh
unit=/etc/systemd/system/zeroforce-tunnel.service
pid=/run/unit.pid
stop() { [ ! -e $pid ] || kill "$(cat $pid)" 2>/dev/null; rm -f $pid; }
case $1 in
  daemon-reload) ;;
  stop) stop ;;
  restart)
    stop
    [ -e /etc/systemd/system/multi-user.target.wants/zeroforce-tunnel.service ] || exit 1
    command=$(sed -n 's/^ExecStart=//p' $unit)
    variables=$(sed -n 's/^Environment=//p' $unit)
    env -i PATH=/usr/bin:/bin $variables $command >/run/unit.log 2>&1 &
    echo $! >$pid
    ;;
  is-active) kill -0 "$(cat $pid)" ;;
  *) exit 1 ;;
esac
`;

/** The same of rc-service, with the script of OpenRC as it was written. */
const RC_SERVICE = `#!/bin/sh
script=/etc/init.d/$1
pid=/run/rc.pid
stop() { [ ! -e $pid ] || kill "$(cat $pid)" 2>/dev/null; rm -f $pid; }
[ -x "$script" ] && [ -L "/etc/runlevels/default/$1" ] || exit 1
need() { :; }
. "$script"
case $2 in
  stop) stop ;;
  restart)
    stop
    env -i PATH=/usr/bin:/bin $command $command_args >/run/rc.log 2>&1 &
    echo $! >$pid
    ;;
  status) kill -0 "$(cat $pid)" ;;
  *) exit 1 ;;
esac
`;

t.test('with systemd and OpenRC: what is written for them starts the tunnel', NEEDS, async (t) => {
  const { root, script, greeting, online, api } = await bench(t);
  const path = '/stub:/usr/sbin:/usr/bin:/sbin:/bin';
  for (const [init, program, text] of [
    ['systemd', 'systemctl', SYSTEMCTL],
    ['openrc', 'rc-service', RC_SERVICE],
  ] as const) {
    writeFileSync(join(root.path, 'stub', program), text, { mode: 0o755 });
    const input = await script();
    const { code, stderr } = await root.run('sh', ['-s', '--', '--init', init], { input, path });
    t.equal(code, 0, `${init}: ${stderr}`);
    await until(`${init} to be connected`, online);
    t.equal(await until('ssh', () => greeting('ssh').catch(() => null)), 'I am ssh', init);
    const removed = await root.run('sh', ['-s', '--', '--uninstall'], { input, path });
    t.equal(removed.code, 0, `${init}: ${removed.stderr}`);
    await until(`${init} to be offline`, () => api.core.sessions.current(KEY) === null);
  }
});

t.test('a gateway with another host key gets no token, and the technician is told', NEEDS, async (t) => {
  const { root, script, online } = await bench(t);
  const other = 'AAAAC3NzaC1lZDI1NTE5AAAAIO9N5NQ8pXkUQ9JcEtmNTBvX6QH3vXo9cXhbQb3XoKfM';
  const input = (await script()).replace(/ssh-ed25519 \S+/, `ssh-ed25519 ${other}`);
  const { code, stderr } = await root.run('sh', ['-s', '--', '--init', 'busybox'], { input });
  t.equal(code, 3);
  t.match(stderr, /Host key verification failed/);
  t.match(stderr, /NOT connected yet/);
  t.notOk(online());
  t.equal((await root.run('/etc/init.d/S95zeroforce-tunnel', ['status'])).code, 0, 'it goes on trying all the same');
});

t.test('a device that is paused is told at once, and gets no script', NEEDS, async (t) => {
  const { root, script, online, api, token } = await bench(t);
  const input = await script();
  await api.call(`POST ${tunnel('pause')}`, { body: { minutes: 60 } });
  const refused = await until('an answer', async () => {
    const one = await api.call(`GET /tunnel/setup/${token}`, { as: null });
    return one.status === 429 ? null : one;
  });
  t.equal(refused.status, 400);
  const { code, stderr } = await root.run('sh', ['-s', '--', '--init', 'busybox'], { input });
  t.equal(code, 3);
  t.match(stderr, /did not let this machine in/);
  t.notOk(online());
});

t.test('programs that are missing are named, and installed when it is asked for', NEEDS, async (t) => {
  const { root, script, online } = await bench(t);
  const input = await script();
  const bin = join(root.path, 'stub');
  // A machine with BusyBox alone.
  for (const applet of 'sh cat chmod mkdir mv rm sleep grep sed tr id kill rmdir ln'.split(' ')) {
    writeFileSync(join(bin, applet), `#!/bin/busybox sh\nexec /bin/busybox ${applet} "$@"\n`, { mode: 0o755 });
  }
  const install = (args: string[]) =>
    root.run('sh', ['-s', '--', '--init', 'busybox', ...args], { input, path: '/stub' });
  t.match(await install([]), { code: 1, stderr: /autossh and the OpenSSH client are needed; install them first/ });
  writeFileSync(join(bin, 'ssh'), '#!/bin/busybox sh\necho "Dropbear v2022.83" >&2\n', { mode: 0o755 });
  writeFileSync(join(bin, 'autossh'), '#!/bin/busybox sh\nexit 1\n', { mode: 0o755 });
  const packages = `#!/bin/busybox sh
echo "$*" >/tmp/asked
for program in ssh autossh; do
  printf '#!/bin/busybox sh\\nPATH=/usr/bin:/bin exec /usr/bin/%s "$@"\\n' $program >/stub/$program
done
`;
  writeFileSync(join(bin, 'opkg'), packages, { mode: 0o755 });
  t.match(await install([]), { code: 1, stderr: /opkg install autossh openssh-client; or run this with --install/ });
  const installed = await install(['--install']);
  t.equal(installed.code, 0, installed.stderr);
  t.equal(readFileSync(join(root.path, 'tmp/asked'), 'utf8'), 'install autossh openssh-client\n');
  await until('the service to be connected', online);
});
