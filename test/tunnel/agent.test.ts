import { once } from 'node:events';
import t from 'tap';
import { type Clock, systemClock } from '../../src/support/clock.ts';
import { startAgentChild } from '../support/agent-child.ts';
import { frame, openPayload, type RawAgent, startRawProxy } from '../support/raw-proxy.ts';
import { startEcho, startService } from '../support/tcp-services.ts';
import { DEVICE_KEY, startAgent, startProxy, TOKEN } from '../support/tunnel-bench.ts';

const accepted = (more = {}) => `${JSON.stringify({ status: 'authenticated', device_key: DEVICE_KEY, ...more })}\n`;

t.test('the hello is one JSON line with exactly two keys, and nothing follows before the reply', async (t) => {
  const agents: RawAgent[] = [];
  const proxy = await startProxy(t, { mode: 'legacy', reply: (agent) => void agents.push(agent) });
  const { until } = startAgent(t, proxy.port, { handshakeTimeoutMs: 300 });
  await until(({ state }) => state === 'waiting');
  t.equal(agents[0]?.hello, `{"token":"${TOKEN}","name":"${DEVICE_KEY}"}`);
  t.same(agents[0]?.frames, []);
});

t.test('a session is up after every accepting reply, however it is spelled or cut', async (t) => {
  const replies: Record<string, (agent: RawAgent) => void> = {
    'as deployed': (agent) => agent.send(accepted()),
    'ok in capitals, with CR LF': (agent) => agent.send('{"status":"OK"}\r\n'),
    'with unknown fields': (agent) => agent.send(accepted({ motd: { a: [1] } })),
    'byte by byte': (agent) => {
      const bytes = Buffer.from(accepted());
      const next = (at: number): void => {
        agent.send(bytes.subarray(at, at + 1));
        if (at < bytes.length - 1) setImmediate(next, at + 1);
      };
      next(0);
    },
  };
  for (const [how, reply] of Object.entries(replies)) {
    const proxy = await startProxy(t, { mode: 'legacy', reply });
    const { until, agent } = startAgent(t, proxy.port);
    const status = await until(({ state }) => state === 'up');
    t.equal(status.protocol, 'legacy', how);
    await agent.stop();
  }
});

t.test('an agent that is offered v1 says X first, and only then', async (t) => {
  const proxy = await startProxy(t, { mode: 'v1' });
  const { until } = startAgent(t, proxy.port);
  const agent = await proxy.nextAgent();
  t.match(agent.settings, { v: 1, maxStreams: Number, window: Number });
  const status = await until(({ state }) => state === 'up');
  t.match(status, { protocol: 'v1', peerDeviceKey: DEVICE_KEY, attempts: 1, sessions: 1, lastFailure: null });
});

t.test('frames behind the reply in the same segment are frames', async (t) => {
  const echo = await startEcho();
  t.teardown(() => echo.close());
  const open = Buffer.concat([
    frame('N', 300_001, openPayload(echo.port)),
    frame('D', 300_001, Buffer.from('at once')),
  ]);
  const proxy = await startProxy(t, {
    mode: 'legacy',
    reply: (agent) => {
      agent.send(Buffer.concat([Buffer.from(accepted()), open]));
      agent.accepted('legacy');
    },
  });
  startAgent(t, proxy.port, { services: { echo: echo.port } });
  const agent = await proxy.nextAgent();
  const answer = await agent.expect('D', 300_001);
  t.equal(answer.payload.toString(), 'at once');
});

t.test('each way of not being accepted has its name', async (t) => {
  const cases: [string, string | Buffer | ((agent: RawAgent) => void), string, RegExp][] = [
    [
      'closes without a word',
      (agent) => agent.socket.end(),
      'proxy.handshake-closed',
      /closed before answering the handshake$/,
    ],
    [
      'resets',
      (agent) => agent.socket.resetAndDestroy(),
      'proxy.handshake-closed',
      /closed before answering the handshake \(connection reset\)$/,
    ],
    [
      'refuses with message',
      '{"status":"error","message":"unknown device"}\n',
      'proxy.handshake-refused',
      /unknown device/,
    ],
    ['refuses with error', '{"status":"error","error":"bad token"}\n', 'proxy.handshake-refused', /bad token/],
    [
      'refuses with reason',
      '{"error":"auth_failed","reason":"revoked"}\n',
      'proxy.handshake-refused',
      /auth_failed.*revoked/,
    ],
    ['refuses and repeats the token', `{"error":"no token ${TOKEN}"}\n`, 'proxy.handshake-refused', /\[secret\]/],
    ['never answers', () => {}, 'proxy.handshake-silent', /did not answer/],
    ['sends half a line', '{"status":', 'proxy.handshake-silent', /10 bytes/],
    ['sends half a line and closes', (agent) => agent.socket.end('{"sta'), 'proxy.not-protocol', /JSON|line/],
    ['answers a list', '[]\n', 'proxy.not-protocol', /object/],
    ['answers an empty line', '\n', 'proxy.not-protocol', /empty/],
    ['answers 5 KiB', 'x'.repeat(5000), 'proxy.not-protocol', /4096/],
    ['is a TLS server', Buffer.from([0x15, 3, 1, 0, 2, 2, 70]), 'proxy.tls-required', /TLS/],
    ['is a web server', 'HTTP/1.1 400 Bad Request\r\n\r\n', 'proxy.not-protocol', /web server/],
    ['is an SSH server', 'SSH-2.0-OpenSSH_9.2\r\n', 'proxy.not-protocol', /SSH/],
    ['sends frames at once', frame('N', 1, openPayload(22)), 'proxy.not-protocol', /frames/],
  ];
  for (const [what, reply, code, sentence] of cases) {
    const proxy = await startProxy(t, { mode: 'legacy', reply });
    const { until, agent } = startAgent(t, proxy.port, { handshakeTimeoutMs: 300 });
    const { lastFailure, sessions } = await until(({ state }) => state === 'waiting');
    t.equal(lastFailure?.code, code, what);
    t.match(lastFailure?.sentence, sentence, what);
    t.equal(sessions, 0);
    await agent.stop();
  }
});

t.test('a reply that is dribbled does not extend the deadline', async (t) => {
  const proxy = await startProxy(t, {
    mode: 'legacy',
    reply: (agent) => {
      const timer = setInterval(() => agent.send(' '), 20);
      void agent.closed.then(() => clearInterval(timer));
    },
  });
  const { until } = startAgent(t, proxy.port, { handshakeTimeoutMs: 300 });
  const { lastFailure } = await until(({ state }) => state === 'waiting');
  t.equal(lastFailure?.code, 'proxy.handshake-silent');
});

t.test('a proxy that accepts and closes in one segment is a session that was closed', async (t) => {
  const proxy = await startProxy(t, { mode: 'legacy', reply: (agent) => void agent.socket.end(accepted()) });
  const { until } = startAgent(t, proxy.port);
  const { lastFailure, sessions } = await until(({ state }) => state === 'waiting');
  t.equal(sessions, 1);
  t.equal(lastFailure?.code, 'session.closed');
});

t.test('the same failure is logged loudly once', async (t) => {
  const proxy = await startProxy(t, { mode: 'legacy', reply: '{"error":"auth_failed"}\n' });
  const { until, logged } = startAgent(t, proxy.port, { reconnect: { minMs: 1, maxMs: 5 } });
  await until(({ attempts }) => attempts > 10);
  const loud = logged.lines.filter(({ level }) => level === 'warn');
  t.equal(loud.length, 1);
  t.match(loud[0], { code: 'proxy.handshake-refused', remedy: String, msg: /auth_failed/, nextAttemptInMs: Number });
  t.ok(logged.lines.filter(({ level }) => level === 'debug').length >= 9);
});

t.test('never two sessions at once, and the agent comes back', async (t) => {
  const proxy = await startProxy(t, { mode: 'legacy' });
  startAgent(t, proxy.port, { reconnect: { minMs: 1, maxMs: 5 } });
  for (let round = 0; round < 10; round++) {
    const agent = await proxy.nextAgent();
    t.equal(proxy.agents.filter(({ ended }) => !ended).length, 1);
    agent.socket.destroy();
    await agent.closed;
  }
});

t.test('a session that is replaced again and again is a duplicate, and backs off to the maximum', async (t) => {
  const proxy = await startProxy(t, { mode: 'v1' });
  const { until, logged } = startAgent(t, proxy.port, { reconnect: { minMs: 1, maxMs: 60_000 } });
  for (let round = 0; round < 3; round++) {
    const agent = await proxy.nextAgent();
    agent.sendFrame('G', 0, Buffer.from('\0\0\0\0session_replaced', 'latin1'));
    await agent.closed;
  }
  const status = await until(({ lastFailure }) => lastFailure?.code === 'identity.duplicate');
  t.equal(status.state, 'waiting');
  t.equal(status.nextAttemptInMs && Math.round(status.nextAttemptInMs), 60_000);
  t.equal(logged.lines.filter(({ code }) => code === 'identity.duplicate').length, 1);
});

t.test('going away: what is open is finished, and the agent comes back in the range', async (t) => {
  const echo = await startEcho();
  t.teardown(() => echo.close());
  const proxy = await startProxy(t, { mode: 'v1' });
  const { until, agent: device } = startAgent(t, proxy.port, {
    services: { echo: echo.port },
    reconnect: { minMs: 1, maxMs: 5 },
  });
  const agent = await proxy.nextAgent();
  const stream = agent.open(echo.port);
  stream.write('before');
  t.equal(String((await once(stream, 'data'))[0]), 'before');
  agent.sendFrame('G', 0, Buffer.from([0, 2, 0, 4, ...Buffer.from('restart')]));
  stream.write('after');
  t.equal(String((await once(stream, 'data'))[0]), 'after');
  t.equal(device.status().state, 'up');
  stream.end();
  const { nextAttemptInMs, lastFailure } = await until(({ state }) => state === 'waiting');
  t.match(lastFailure, { code: 'session.going-away', sentence: /restart/ });
  t.ok((nextAttemptInMs ?? 0) > 1000 && (nextAttemptInMs ?? 0) <= 4000);
});

t.test('stop, in every state', async (t) => {
  t.test('while connecting', async (t) => {
    const proxy = await startProxy(t, { mode: 'legacy', reply: () => {} });
    const { agent } = startAgent(t, proxy.port);
    const stopped = agent.stop();
    t.equal(agent.status().state, 'connecting');
    await stopped;
    t.equal(agent.status().state, 'stopped');
  });

  t.test('in the handshake', async (t) => {
    let hello: (agent: RawAgent) => void = () => {};
    const said = new Promise<RawAgent>((resolve) => {
      hello = resolve;
    });
    const proxy = await startProxy(t, { mode: 'legacy', reply: (agent) => hello(agent) });
    const { agent } = startAgent(t, proxy.port);
    const peer = await said;
    await agent.stop();
    await peer.closed;
    t.equal(agent.status().state, 'stopped');
  });

  t.test('while waiting', async (t) => {
    const proxy = await startProxy(t, { mode: 'legacy', reply: (agent) => void agent.socket.end() });
    const { agent, until } = startAgent(t, proxy.port, { reconnect: { minMs: 60_000, maxMs: 60_000 } });
    await until(({ state }) => state === 'waiting');
    await agent.stop();
    t.equal(agent.status().state, 'stopped');
    t.equal(agent.status().nextAttemptInMs, null);
  });

  for (const mode of ['legacy', 'v1'] as const) {
    t.test(`with a stream open, ${mode}: both of its ends are closed`, async (t) => {
      const echo = await startEcho();
      t.teardown(() => echo.close());
      const proxy = await startProxy(t, { mode });
      const { agent } = startAgent(t, proxy.port, { services: { echo: echo.port } });
      const peer = await proxy.nextAgent();
      const stream = peer.open(echo.port);
      stream.write('x');
      await once(stream, 'data');
      t.equal(agent.status().streams, 1);
      await agent.stop();
      await peer.closed;
      t.equal(stream.endedBy, 'C');
      t.equal(echo.sockets.size, 0);
      t.equal(agent.status().streams, 0);
    });
  }

  t.test('towards a proxy that reads nothing any more', async (t) => {
    const source = await startService((socket) => void socket.write(Buffer.alloc(64 * 1024 * 1024)));
    t.teardown(() => source.close());
    const proxy = await startProxy(t, { mode: 'legacy' });
    const { agent } = startAgent(t, proxy.port, { services: { source: source.port } });
    const peer = await proxy.nextAgent();
    peer.socket.pause();
    peer.open(source.port);
    await source.next();
    const startMs = performance.now();
    await agent.stop();
    t.ok(performance.now() - startMs < 4000);
    t.equal(agent.status().state, 'stopped');
  });
});

t.test('after a proxy was away for a second, a session that was held is back within the next', async (t) => {
  // 30 s make a session a held one; the test has no such time, so its clock jumps.
  let jumpMs = 0;
  const clock: Clock = { nowMs: () => systemClock.nowMs() + jumpMs, after: systemClock.after };
  const first = await startRawProxy({ mode: 'v1' });
  const { port } = first;
  const echo = await startEcho();
  t.teardown(() => echo.close());
  startAgent(t, port, { clock, services: { echo: echo.port }, reconnect: { minMs: 1000, maxMs: 60_000 } });
  await first.nextAgent();
  jumpMs = 31_000;
  await first.close();
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const second = await startProxy(t, { mode: 'v1', port });
  const backMs = performance.now();
  const stream = (await second.nextAgent()).open(echo.port);
  stream.write('x');
  await once(stream, 'data');
  const tookMs = performance.now() - backMs;
  t.ok(tookMs <= 1100, `it took ${Math.round(tookMs)} ms`);
});

t.test('after a stop nothing is left that keeps the process alive', async (t) => {
  const echo = await startEcho();
  t.teardown(() => echo.close());
  for (const mode of ['legacy', 'v1'] as const) {
    const proxy = await startProxy(t, { mode });
    const child = startAgentChild(t, [{ name: 'only', port: proxy.port }], { echo: echo.port });
    const peer = await proxy.nextAgent();
    const stream = peer.open(echo.port);
    stream.write('x');
    await once(stream, 'data');
    child.stop();
    t.equal(await child.exitCode, 0, mode);
  }
});
