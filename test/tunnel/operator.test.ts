import t from 'tap';
import { Failure, type FailureCode } from '../../src/support/failures.ts';
import { namedByOperator } from '../../src/tunnel/transport.ts';
import { frame, u32 } from '../support/raw-proxy.ts';
import { startAgent, startProxy } from '../support/tunnel-bench.ts';

t.test('what an operator did is told by its own name, in the words of a gateway', async (t) => {
  const cases: [FailureCode, string, FailureCode][] = [
    ['proxy.handshake-refused', 'refused: "paused: the device is paused until 2026-11-21"', 'operator.paused'],
    ['ssh.closed', 'refused the session: the device is paused until 2026-11-21', 'operator.paused'],
    ['session.closed', 'ended the session: paused_by_operator', 'operator.paused'],
    ['session.going-away', 'the peer is going away: paused_by_operator', 'operator.paused'],
    ['proxy.handshake-refused', 'refused: "Device not authorised"', 'operator.not-authorized'],
    ['ssh.closed', 'refused the session: the device is not authorized', 'operator.not-authorized'],
    ['session.closed', 'ended the session: token_rotated', 'operator.token-rotated'],
    ['session.going-away', 'the peer is going away: operator_disconnect', 'operator.disconnected'],
    ['session.going-away', 'the peer is going away: shutdown', 'session.going-away'],
    ['session.closed', 'ended the session: session_replaced', 'session.closed'],
    ['proxy.refused', 'paused_by_operator:9001 refused', 'proxy.refused'],
  ];
  for (const [code, sentence, name] of cases) {
    const cause = new Failure(code, sentence);
    const named = namedByOperator(cause);
    t.equal(named.code, name, sentence);
    t.equal(named.message, sentence);
    if (name !== code) t.equal(named.cause, cause);
  }
});

t.test('a Meeting session that an operator pauses, and the refusal after it', async (t) => {
  let isPaused = false;
  const proxy = await startProxy(t, {
    mode: 'v1',
    reply: (agent) => {
      if (isPaused) agent.send('{"status":"error","error":"paused","reason":"the device is paused until noon"}\n');
      else agent.accept('v1');
    },
  });
  const { until } = startAgent(t, proxy.port);
  const agent = await proxy.nextAgent();
  isPaused = true;
  agent.send(Buffer.concat([frame('G', 0, Buffer.concat([u32(0), Buffer.from('paused_by_operator')]))]));
  const ended = await until(({ sessions, lastFailure }) => sessions === 1 && lastFailure !== null);
  t.match(ended.lastFailure, { code: 'operator.paused', sentence: /paused_by_operator/, remedy: /resume KEY/ });
  const refused = await until(({ lastFailure }) => /until noon/.test(lastFailure?.sentence ?? ''));
  t.equal(refused.lastFailure?.code, 'operator.paused');
});
