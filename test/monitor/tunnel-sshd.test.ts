import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { homedir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { ActivityMonitor } from '../../src/monitor/activity-monitor.ts';
import { systemClock } from '../../src/support/clock.ts';
import { findProgram, requires } from '../support/requires.ts';
import { testLog } from '../support/test-log.ts';
import { until } from '../support/until.ts';

const SHIPPED = 'board/package/zeroforce-agent/beamer-ssh-tunnel';
const SSHD = findProgram('sshd') ?? 'sshd';
const needs = requires('root', 'sshd', 'ssh', 'ssh-keygen', 'netstat');

/** What sshd makes of the shipped file, only the paths and ports replaced. In the home folder: StrictModes refuses /tmp. */
function place(t: Test, { port = 8007, permitted = 3240 } = {}) {
  mkdirSync('/run/sshd', { recursive: true }); // sshd's privilege separation wants it
  const folder = mkdtempSync(join(homedir(), '.zeroforce-test-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  for (const name of ['host', 'client']) {
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(folder, name)]);
  }
  const publicKey = readFileSync(join(folder, 'client.pub'), 'utf8');
  writeFileSync(join(folder, 'authorized_keys'), `restrict,port-forwarding ${publicKey}`, { mode: 0o600 });
  const config = readFileSync(SHIPPED, 'utf8')
    .replace('Port 8007', `Port ${port}`)
    .replace('/run/beamer-sshd.pid', join(folder, 'pid'))
    .replace('/etc/ssh/ssh_host_ed25519_key', join(folder, 'host'))
    .replace(/^HostKey \/etc.*\n/gm, '')
    .replace('/root/.ssh/authorized_keys', join(folder, 'authorized_keys'))
    .replaceAll(':3240', `:${permitted}`);
  const configFile = join(folder, 'sshd_config');
  writeFileSync(configFile, config);
  return { folder, configFile };
}

async function listening(t: Test, server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => void server.close());
  return (server.address() as AddressInfo).port;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGTERM');
  await once(child, 'exit');
}

/** The shipped sshd on a free port, a service that it may forward to, and one that it may not. */
async function startSshd(t: Test) {
  const greeter = (greeting: string) =>
    createServer((socket) => void socket.on('error', () => undefined).end(greeting));
  const permitted = await listening(t, greeter('permitted'));
  const forbidden = await listening(t, greeter('forbidden'));
  const port = await freePort();
  const { folder, configFile } = place(t, { port, permitted });
  const sshd = spawn(SSHD, ['-D', '-e', '-f', configFile], { stdio: ['ignore', 'ignore', 'pipe'] });
  t.teardown(() => end(sshd));
  let said = '';
  sshd.stderr.on('data', (chunk: Buffer) => {
    said += chunk;
  });
  await until('sshd listens', () => said.includes('Server listening on 0.0.0.0'));

  const sshArgs = (...args: string[]) => [
    ...['-F', 'none', '-i', join(folder, 'client'), '-p', String(port), '-o', 'BatchMode=yes'],
    ...['-o', 'IdentitiesOnly=yes', '-o', 'StrictHostKeyChecking=no', '-o', `UserKnownHostsFile=${folder}/known`],
    ...['-o', 'ExitOnForwardFailure=yes', '-o', 'ConnectTimeout=20', ...args],
  ];
  const ssh = (...args: string[]) =>
    new Promise<{ code: number | null; stdout: string; stderr: string }>((resolve) => {
      const child = execFile('ssh', sshArgs(...args), { timeout: 30_000 }, (_error, stdout, stderr) =>
        resolve({ code: child.exitCode, stdout, stderr }),
      );
      child.stdin?.end();
    });
  return { folder, port, permitted, forbidden, ssh, sshArgs };
}

t.test(
  'the shipped configuration passes sshd -t, and is hardened in effect',
  requires('root', 'sshd', 'ssh-keygen'),
  (t) => {
    const { configFile } = place(t);
    execFileSync(SSHD, ['-t', '-f', configFile]);
    const connection = 'user=root,host=localhost,addr=127.0.0.1,laddr=127.0.0.1,lport=8007';
    const effective = execFileSync(SSHD, ['-T', '-f', configFile, '-C', connection], { encoding: 'utf8' }).split('\n');
    const expected = [
      'port 8007',
      'allowusers root',
      'authenticationmethods publickey',
      'pubkeyauthentication yes',
      'passwordauthentication no',
      'kbdinteractiveauthentication no',
      'hostbasedauthentication no',
      'permitemptypasswords no',
      'permitrootlogin without-password',
      'strictmodes yes',
      'allowtcpforwarding local',
      'permitopen localhost:3240 127.0.0.1:3240 localhost:5000 127.0.0.1:5000',
      'permitlisten none',
      'gatewayports no',
      'allowstreamlocalforwarding no',
      'allowagentforwarding no',
      'x11forwarding no',
      'permittunnel no',
      'permittty no',
      'permituserrc no',
      'permituserenvironment no',
      'forcecommand /bin/false',
      'logingracetime 15',
      'maxstartups 5:50:10',
      'clientaliveinterval 5',
      'clientalivecountmax 2',
    ];
    for (const line of expected) t.ok(effective.includes(line), line);
    t.notOk(effective.some((line) => line.startsWith('subsystem')));
    t.notOk(effective.includes('usepam yes'));
    t.end();
  },
);

t.test('a real login may forward to the permitted port, under both names, and do nothing else', needs, async (t) => {
  const { folder, permitted, forbidden, ssh } = await startSshd(t);
  for (const host of ['localhost', '127.0.0.1']) {
    t.match(await ssh('-W', `${host}:${permitted}`, 'root@127.0.0.1'), { code: 0, stdout: 'permitted' }, host);
    const denied = await ssh('-W', `${host}:${forbidden}`, 'root@127.0.0.1');
    t.match(denied, { code: 255, stdout: '', stderr: /prohibited/ }, `${host}, another port`);
  }
  t.match(await ssh('-N', '-R', `0:127.0.0.1:${permitted}`, 'root@127.0.0.1'), {
    code: 255,
    stderr: /forwarding failed/,
  });

  const trace = join(folder, 'trace');
  t.match(await ssh('root@127.0.0.1', `echo leaked; touch ${trace}`), { code: 1, stdout: '' }, 'no command');
  t.match(await ssh('root@127.0.0.1'), { code: 1, stdout: '' }, 'no shell');
  t.match(await ssh('-tt', 'root@127.0.0.1'), { stdout: '', stderr: /PTY allocation request failed/ }, 'no terminal');
  t.match(await ssh('-s', 'root@127.0.0.1', 'sftp'), { stdout: '', stderr: /subsystem request failed/ }, 'no sftp');
  t.notOk(existsSync(trace));

  const stranger = await ssh('-o', 'PubkeyAuthentication=no', 'root@127.0.0.1');
  t.match(stranger, { code: 255, stderr: /Permission denied \(publickey\)/ });
  t.match(await ssh('-N', 'nobody@127.0.0.1'), { code: 255, stderr: /Permission denied \(publickey\)/ }, 'only root');
});

t.test('the monitor sees a real ssh tunnel come and go', needs, async (t) => {
  const { folder, port, permitted, sshArgs } = await startSshd(t);
  const monitor = new ActivityMonitor({
    tunnelPort: port,
    countEnd: 'local',
    confirmMs: 0,
    intervalMs: 60_000,
    runDir: join(folder, 'run'),
    netstatCommand: 'netstat',
    clock: systemClock,
    log: testLog().log,
  });
  t.teardown(() => monitor.stop());
  t.match(await monitor.poll(), { kind: 'none' });
  const local = await freePort();
  const tunnel = spawn('ssh', sshArgs('-N', '-L', `127.0.0.1:${local}:localhost:${permitted}`, 'root@127.0.0.1'), {
    stdio: 'ignore',
  });
  t.teardown(() => end(tunnel));
  t.equal(await until('the tunnel works', () => answerOf(local)), 'permitted');
  t.match(await monitor.poll(), { kind: 'active' });
  await end(tunnel);
  await until('the loss is seen', async () => (await monitor.poll()).kind === 'none');
});

/** What a port of this machine sends, or null while nothing answers. */
function answerOf(port: number): Promise<string | null> {
  return new Promise((resolve) => {
    let answer = '';
    connect(port, '127.0.0.1')
      .on('data', (chunk) => {
        answer += chunk;
      })
      .on('error', () => resolve(null))
      .on('close', () => resolve(answer));
  });
}
