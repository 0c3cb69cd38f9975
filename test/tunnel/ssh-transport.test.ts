import { once } from 'node:events';
import { chmod, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type Clock, systemClock } from '../../src/support/clock.ts';
import type { TunnelOptions } from '../../src/tunnel/agent.ts';
import { type SshTransportOptions, sshTransport } from '../../src/tunnel/ssh-transport.ts';
import { freePort } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { GATEWAY_NEEDS, type SshGateway, startGateway, TOKEN, temporaryFolder } from '../support/ssh-gateway.ts';
import { startEcho } from '../support/tcp-services.ts';
import { testLog } from '../support/test-log.ts';
import { type RunningAgent, watchAgent } from '../support/tunnel-bench.ts';
import { until as poll } from '../support/until.ts';

const needs = requires(...GATEWAY_NEEDS);

/** An agent with the ssh transport, which ends with the test. */
async function startSshAgent(
  t: Test,
  gateway: Pick<SshGateway, 'port' | 'hostKey'>,
  options: Partial<SshTransportOptions & Omit<TunnelOptions, 'transport'>> = {},
): Promise<RunningAgent> {
  const logged = testLog();
  const transport = sshTransport({
    program: process.env.ZEROFORCE_TEST_SSH ?? 'ssh',
    gateway: { host: '127.0.0.1', port: gateway.port },
    token: TOKEN,
    hostKeys: { kind: 'pinned', key: gateway.hostKey },
    forwards: { ssh: 22 },
    pairingPorts: () => [],
    folder: join(await temporaryFolder(t), 'ssh'),
    connectTimeoutMs: 10_000,
    clock: systemClock,
    log: logged.log,
    ...options,
  });
  return watchAgent(t, { transport, ...options, log: logged.log }, logged);
}

/** A program in the place of ssh that says what a real one said, and ends. */
async function replay(t: Test, lines: string[], end = ''): Promise<string> {
  const path = join(await temporaryFolder(t), 'ssh');
  await writeFile(path, `#!/bin/sh\ncat >&2 <<'END'\n${lines.join('\n')}\nEND\n${end}\n`);
  await chmod(path, 0o755);
  return path;
}

const UP = [
  'debug1: Connecting to 127.0.0.1 [127.0.0.1] port 2222.',
  'debug1: Connection established.',
  'debug1: Remote protocol version 2.0, remote software version x',
  'Authenticated to 127.0.0.1 ([127.0.0.1]:2222) using "none".',
  'debug1: Entering interactive session.',
  'Allocated port 40000 for remote forward to 127.0.0.1:22',
];
const NOWHERE = { port: 2222, hostKey: `ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI${'A'.repeat(43)}` };

t.test('each service is reached at the port that the status names', needs, async (t) => {
  const gateway = await startGateway(t);
  const [echo, nobody] = [await startEcho(), await freePort()];
  t.teardown(() => echo.close());
  const { agent, until, logged } = await startSshAgent(t, gateway, { forwards: { web: nobody, echo: echo.port } });
  const status = await until(({ state }) => state === 'up');
  t.match(status, {
    transport: 'ssh',
    proxy: { host: '127.0.0.1', port: gateway.port, tls: false },
    protocol: 'ssh',
    peerDeviceKey: null,
    streams: 0,
    attempts: 1,
    sessions: 1,
    lastFailure: null,
  });
  t.match(status.forwards, [
    { name: 'web', localPort: nobody, remotePort: Number },
    { name: 'echo', localPort: echo.port, remotePort: Number },
  ]);
  const [web, service] = status.forwards.map(({ remotePort }) => connect(remotePort, '127.0.0.1'));
  if (web === undefined || service === undefined) throw new Error('no forwards');
  const closed = once(web, 'close');
  t.teardown(() => service.destroy());
  service.write('hello');
  t.equal(String((await once(service, 'data'))[0]), 'hello');
  await closed;
  await poll('the streams to be counted', () => agent.status().streams === 1);
  t.equal(agent.status().state, 'up', 'a service that is not there ends no session');
  const note = logged.lines.find(({ code }) => code === 'ssh.target-failed');
  t.match(note, { level: 'warn', msg: /127\.0\.0\.1/ });
  t.match(agent.status().localFailures, [{ port: nobody, code: 'ssh.target-failed', sentence: /failed/ }]);

  const late = await startEcho(nobody);
  t.teardown(() => late.close());
  const again = connect(status.forwards[0]?.remotePort ?? 0, '127.0.0.1');
  t.teardown(() => again.destroy());
  await poll('the failure to be over', () => agent.status().localFailures.length === 0);
  again.destroy();
  await poll('the stream to be closed', () => agent.status().streams === 1);
  await agent.stop();
  t.match(agent.status(), { state: 'stopped', protocol: null, forwards: [] });
});

t.test(
  'after a held session the device is back at the first attempt, or soon after its gateway is',
  needs,
  async (t) => {
    // 30 s make a session a held one; the test has no such time, so its clock jumps.
    let jumpMs = 0;
    const clock: Clock = { nowMs: () => systemClock.nowMs() + jumpMs, after: systemClock.after };
    const gateway = await startGateway(t);
    const limits = { reconnect: { minMs: 1000, maxMs: 60_000 }, clock };
    const { until } = await startSshAgent(t, gateway, limits);
    await until(({ state }) => state === 'up');
    jumpMs += 31_000;
    gateway.drop();
    const waiting = await until(({ state }) => state === 'waiting');
    t.equal(waiting.lastFailure?.code, 'session.closed');
    t.ok((waiting.nextAttemptInMs ?? 1e9) <= 500, `it waits for ${waiting.nextAttemptInMs} ms`);
    t.equal((await until(({ sessions }) => sessions === 2)).attempts, 2);

    jumpMs += 31_000;
    await gateway.stop('SIGKILL');
    await until(({ lastFailure }) => lastFailure?.code === 'ssh.refused');
    await gateway.start();
    const backMs = performance.now();
    await until(({ sessions }) => sessions === 3);
    // The next attempt comes within 1.5 s (reconnect: FIRST_CEILING), and ssh takes its time.
    t.ok(performance.now() - backMs < 4_000, `it took ${Math.round(performance.now() - backMs)} ms`);
  },
);

t.test('a gateway whose key changes gets no token, until it has the right one again', needs, async (t) => {
  const gateway = await startGateway(t);
  const { agent, until, logged } = await startSshAgent(t, gateway);
  await until(({ state }) => state === 'up');
  await gateway.stop();
  await gateway.start({ hostKey: 'new' });
  const accepted = gateway.log().split('Accepted none').length;
  const { lastFailure } = await until((status) => status.lastFailure?.code === 'ssh.host-key-changed');
  t.match(lastFailure?.sentence, /SHA256:\S+; expected is ssh-ed25519 SHA256:/);
  t.match(lastFailure?.remedy, /Ask the operator/);
  const { attempts } = agent.status();
  await until((status) => status.attempts > attempts + 2);
  t.equal(gateway.log().split('Accepted none').length, accepted);
  const loud = logged.lines.filter(({ code, level }) => code === 'ssh.host-key-changed' && level === 'warn');
  t.equal(loud.length, 1, 'it is told loudly once');
});

t.test('a session that is taken away again and again is a duplicate', requires('ssh'), async (t) => {
  const limits = { reconnect: { minMs: 1, maxMs: 60_000 } };
  const goodbye = 'Received disconnect from 127.0.0.1 port 2222:11: session_replaced';
  for (const [when, lines] of [
    ['once it stands', [...UP, goodbye]],
    ['before it stands', [...UP.slice(0, 3), goodbye]],
  ] as const) {
    const program = await replay(t, [...lines, 'Disconnected from 127.0.0.1 port 2222'], 'exit 255');
    const { until } = await startSshAgent(t, NOWHERE, { ...limits, program });
    const status = await until(({ lastFailure }) => lastFailure?.code === 'identity.duplicate');
    t.equal(status.attempts, 3, when);
    t.equal(Math.round(status.nextAttemptInMs ?? 0), 60_000, when);
  }
});

t.test("a gateway's reason for ending a session is told, without the token", requires('ssh'), async (t) => {
  const program = await replay(
    t,
    [...UP, `Received disconnect from x port 1:11: paused_by_operator ${TOKEN}`],
    'exit 255',
  );
  const { until } = await startSshAgent(t, NOWHERE, { program, reconnect: { minMs: 60_000, maxMs: 60_000 } });
  const { lastFailure } = await until(({ state }) => state === 'waiting');
  t.match(lastFailure, {
    code: 'operator.paused',
    sentence: '127.0.0.1:2222 ended the session: paused_by_operator [secret]',
  });
});

t.test('a program that says nothing and stays is given up', requires('ssh'), async (t) => {
  const program = await replay(t, [], 'exec sleep 60');
  const { until } = await startSshAgent(t, NOWHERE, { program, connectTimeoutMs: 300 });
  const { lastFailure } = await until(({ attempts }) => attempts === 3);
  t.equal(lastFailure?.code, 'ssh.timeout');
});

t.test('the port where the pairing routes listen is never forwarded', requires('ssh'), async (t) => {
  const gateway = await startGateway(t);
  let listening: number[] = [];
  const { until, agent } = await startSshAgent(t, gateway, {
    forwards: { ssh: 22, web: 5000 },
    pairingPorts: () => listening,
    reconnect: { minMs: 1, maxMs: 5 },
  });
  await until(({ state }) => state === 'up');
  listening = [5000];
  const accepted = () => gateway.log().split('Accepted none').length;
  await gateway.stop();
  await gateway.start();
  const before = accepted();
  const { lastFailure } = await until((status) => status.lastFailure?.code === 'ssh.pairing-forwarded');
  t.match(lastFailure, {
    sentence: 'the forward web leads to port 5000, where the pairing routes listen',
    remedy: /ZEROFORCE_SSH_FORWARDS/,
  });
  const { attempts } = agent.status();
  await until((status) => status.attempts > attempts + 10);
  t.equal(accepted(), before, 'no connection is made');
});
