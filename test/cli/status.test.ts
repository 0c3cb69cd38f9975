import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { hostname, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import t, { type Test } from 'tap';
import pkg from '../../package.json' with { type: 'json' };
import { device, meeting, setKey, socketOf, untilStatus } from '../device/support.ts';
import { startMeetingServer } from '../support/meeting-api.ts';
import { endChild, freePort } from '../support/processes.ts';
import { startRawProxy } from '../support/raw-proxy.ts';
import { requires } from '../support/requires.ts';
import { PROGRAM, tunnelAgent } from '../support/service.ts';
import { makeKey } from '../support/sshd.ts';
import { until } from '../support/until.ts';

t.test('without a service: exit 1, with what to do', async (t) => {
  const runDir = folder(t);
  for (const args of [['status'], ['status', '--json']]) {
    const { code, stdout, stderr } = await tunnelAgent(args, { ZEROFORCE_RUN_DIR: runDir });
    t.equal(code, 1);
    t.equal(stdout, '');
    t.equal(
      stderr,
      `tunnel-agent: no service answers at ${runDir}/control.sock\n  service.not-running: Start the service, then try again\n`,
    );
  }
});

t.test('something else at the socket: exit 1 in bounded time', async (t) => {
  const runDir = folder(t);
  const server = createServer((socket) => void socket.on('error', () => {}).resume()).listen(
    join(runDir, 'control.sock'),
  );
  await once(server, 'listening');
  t.teardown(() => void server.close());
  const { code, stdout, stderr } = await tunnelAgent(['status'], { ZEROFORCE_RUN_DIR: runDir });
  t.equal(code, 1);
  t.equal(stdout, '');
  t.match(stderr, /no answer within 5000 ms\n {2}service\.no-answer: /);
});

t.test('status --json has its documented shape', requires('ssh-keygen'), async (t) => {
  const proxy = await startRawProxy({ mode: 'v1' });
  t.teardown(() => proxy.close());
  const api = await startMeetingServer();
  t.teardown(() => api.close());
  const service = await device(t, { ...meeting(proxy), MEETING_API_URL: api.url });
  const { publicKey } = await makeKey(join(folder(t), 'key'), 'home');
  t.equal((await setKey(service, publicKey)).status, 200);
  await untilStatus(service, ({ tunnel, meetingApi }) => tunnel?.state === 'up' && meetingApi?.availability != null);
  const status = await service.status();
  t.match(status, {
    version: pkg.version,
    pid: service.pid,
    hostname: hostname(),
    uptimeSeconds: Number,
    pairing: {
      policy: 'open',
      open: true,
      pinReady: false,
      openedLocally: null,
      pin: { set: false, failuresLeft: 20, locked: false },
      reason: 'the device has never been paired',
      opensInSeconds: 0,
      tunnel: 'none',
      everPaired: false,
      key: { type: 'ssh-ed25519', fingerprint: /^SHA256:/ },
    },
    monitor: { kind: 'none', connections: 0, sinceConnectedSeconds: Number },
    http: { host: '127.0.0.1', port: Number(service.settings.ZEROFORCE_HTTP_PORT) },
    mdns: null,
    tunnel: {
      transport: 'meeting',
      state: 'up',
      inStateMs: Number,
      proxy: { host: '127.0.0.1', port: proxy.port, tls: false },
      protocol: 'v1',
      peerDeviceKey: service.settings.MEETING_DEVICE_KEY,
      forwards: [],
      streams: 0,
      attempts: 1,
      sessions: 1,
      nextAttemptInMs: null,
      lastFailure: null,
    },
    meetingApi: { state: 'online', url: api.url, lastFailure: null },
    faults: [],
    notices: [],
  });
  const { pairing, monitor, http, tunnel, meetingApi } = status;
  const parts = [
    status,
    pairing,
    pairing.key,
    pairing.pin,
    monitor,
    http,
    tunnel,
    meetingApi,
    meetingApi?.lastHeartbeat,
  ];
  const fields = parts.flatMap((part) => Object.keys(part ?? {}));
  const ofWhatFailed = ['failure', 'code', 'sentence', 'remedy'];
  // What this service has not: it is not announced, was not opened locally, and has no SSH gateway.
  const ofMdns = ['name', 'renamed', 'interfaces', 'addresses', 'state', 'failure'];
  const ofDiagnosis = ['check', 'title', 'summary', 'evidence', 'over'];
  const others = [...ofMdns, ...ofDiagnosis, 'secondsLeft', 'name', 'localPort', 'remotePort', ...ofWhatFailed];
  t.strictSame(documentedFields(), [...new Set([...fields, ...others])].sort());
  t.equal(statSync(socketOf(service)).mode & 0o777, 0o600);
});

t.test('a person reads what is wrong and what to do', async (t) => {
  const port = await freePort();
  const service = await device(t, { ...meeting({ port }), ZEROFORCE_NETSTAT: '/nowhere/netstat' });
  await untilStatus(service, ({ tunnel, faults }) => tunnel?.lastFailure !== null && faults.length > 0);
  const { code, stdout, stderr } = await tunnelAgent(['status'], service.settings);
  t.equal(code, 0, stderr);
  t.match(stdout, `tunnel-agent ${pkg.version} on ${hostname()}, up `);
  t.match(stdout, /^ {2}pairing {2}closed: it is not known whether a tunnel stands$/m);
  t.match(stdout, /^ {2}key {6}none$/m);
  t.match(stdout, /^ {2}monitor {2}cannot tell whether a tunnel stands, see the fault$/m);
  t.match(stdout, /^ {11}proxy\.refused: Check MEETING_PROXY_HOST/m);
  t.match(stdout, /^ {2}fault {4}.*\/nowhere\/netstat.*\n {11}monitor\.netstat-missing: Install/m);
});

t.test('the service goes on when the reader of its log goes away', async (t) => {
  const runDir = folder(t);
  const port = await freePort();
  const child = spawn(PROGRAM, ['run'], {
    env: {
      PATH: process.env.PATH,
      LOG_LEVEL: 'trace',
      ZEROFORCE_RUN_DIR: join(runDir, 'run'),
      ZEROFORCE_STATE_DIR: join(runDir, 'state'),
      ZEROFORCE_AUTHORIZED_KEYS_FILE: join(runDir, 'authorized_keys'),
      ZEROFORCE_HTTP_HOST: '127.0.0.1',
      ZEROFORCE_HTTP_PORT: String(port),
      ZEROFORCE_MONITOR_INTERVAL: '0.2',
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.teardown(() => endChild(child, 'SIGKILL'));
  const exited = once(child, 'exit');
  await once(child.stdout, 'data');
  child.stdout.destroy();
  child.stderr.destroy();
  const ask = (path: string) => fetch(`http://127.0.0.1:${port}${path}`).then((response) => response.status);
  await until('HTTP to answer', () => ask('/healthz').catch(() => null));
  for (let count = 0; count < 5; count += 1) t.equal(await ask('/nowhere'), 404, 'which is logged at this level');
  t.equal(await ask('/healthz'), 200);
  child.kill('SIGTERM');
  t.strictSame(await exited, [0, null]);
});

/** The fields that docs/cli.md names. */
function documentedFields(): string[] {
  const document = readFileSync(resolve(import.meta.dirname, '../../../docs/cli.md'), 'utf8');
  const table = /## The status\n[^|]*([\s\S]*?)\n\n/.exec(document)?.[1] ?? '';
  return [...new Set([...table.matchAll(/`(\w+)`/g)].map(([, name]) => String(name)))].sort();
}

function folder(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'zeroforce-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}
