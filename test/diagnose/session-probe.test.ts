import t from 'tap';
import { DEFAULT_OPTIONS, type DiagnoseOptions, Facts } from '../../src/diagnose/facts.ts';
import { session } from '../../src/diagnose/probes/session.ts';
import type { ServiceStatus, TcpConnection, Tools } from '../../src/diagnose/tools.ts';
import { Failure, type FailureCode } from '../../src/support/failures.ts';
import { settled, subject } from './support.ts';

type Tunnel = NonNullable<ServiceStatus['tunnel']>;

const PEER = { host: '192.0.2.7', port: 9001, tls: false };

const status = (change: Partial<Tunnel> | null) =>
  ({
    ...{ version: '1', pid: 5, pairing: {}, uptimeSeconds: 100 },
    tunnel: change && {
      ...{ transport: 'meeting', state: 'waiting', inStateMs: 5_000, proxy: PEER, protocol: null, peerDeviceKey: null },
      ...{ forwards: [], streams: 0, sessions: 0, nextAttemptInMs: 60_000, lastFailure: null, ...change },
    },
  }) as unknown as ServiceStatus;

const last = (code: FailureCode) => ({ lastFailure: { code, sentence: `said ${code}`, remedy: 'mend', agoMs: 3_000 } });

/** One run of the probe, with a service that answers these, one after the other, and a dial that ends so. */
function ask(
  answers: readonly (ServiceStatus | Failure)[],
  dialled: Failure | 'accepted' | 'silent' = 'accepted',
  options: Partial<DiagnoseOptions> = {},
  connections: readonly TcpConnection[] = [],
) {
  const known = [...answers];
  let dials = 0;
  const tools = {
    service: () => {
      const answer = known.length > 1 ? known.shift() : known[0];
      return answer instanceof Failure ? Promise.reject(answer) : Promise.resolve(answer);
    },
    connections: () => Promise.resolve(connections),
    tunnel: {
      transport: 'meeting',
      peer: PEER,
      dial: (signal: AbortSignal) => {
        dials += 1;
        if (dialled === 'accepted') return Promise.resolve({ protocol: 'v1', peerDeviceKey: null });
        if (dialled !== 'silent') return Promise.reject(dialled);
        return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)));
      },
    },
  } as unknown as Tools;
  const { clock, ...rest } = subject({ tools, options: { ...DEFAULT_OPTIONS, ...options } });
  const facts = new Facts({ ...rest, clock }, new AbortController().signal);
  return { state: facts.get(session), clock, dials: () => dials };
}

const NOT_RUNNING = new Failure('service.not-running', 'no service answers');

t.test('a session that stands is taken as it is, and dialled only on demand', async (t) => {
  const held = ask([status({ state: 'up', protocol: 'v1' })]);
  t.match(await held.state, { kind: 'held', evidence: /nothing was dialled/ });
  t.equal(held.dials(), 0);
  const forced = ask([status({ state: 'up', protocol: 'v1' })], 'accepted', { dial: 'always' });
  t.match(await forced.state, { kind: 'accepted', before: { tunnel: { state: 'up' } } });
  t.equal(forced.dials(), 1);
});

t.test('a service that is about to connect is given a moment', async (t) => {
  const run = ask([status({ state: 'connecting' }), status({ state: 'up' })]);
  await settled();
  run.clock.advance(200);
  t.match(await run.state, { kind: 'held' });
  t.equal(run.dials(), 0);
});

t.test('no service, no session: it is dialled; where somebody may hold one, it is not', async (t) => {
  t.equal((await ask([NOT_RUNNING]).state).kind, 'accepted');
  const remote = { address: PEER.host, port: PEER.port };
  const standing = { local: { address: '192.0.2.1', port: 4000 }, remote, state: 'ESTABLISHED' };
  const other = ask([NOT_RUNNING], 'accepted', {}, [standing]);
  t.match(await other.state, { kind: 'untried', evidence: /ESTABLISHED/ });
  t.equal(other.dials(), 0);
  const gone = ask([NOT_RUNNING], 'accepted', {}, [{ ...standing, state: 'TIME_WAIT' }]);
  t.equal((await gone.state).kind, 'accepted');
  for (const code of ['service.not-permitted', 'service.no-answer'] as const) {
    const run = ask([new Failure(code, 'no')]);
    t.match(await run.state, { kind: 'untried', need: /root/ }, code);
    t.equal(run.dials(), 0);
  }
});

t.test('without a dial the service is quoted', async (t) => {
  const never = { dial: 'never' } as const;
  const run = ask([status(last('proxy.refused'))], 'accepted', never);
  t.match(await run.state, { kind: 'failed', code: 'proxy.refused', evidence: /the service, 3\.0 s ago/ });
  t.equal(run.dials(), 0);
  t.equal((await ask([status({})], 'accepted', never).state).kind, 'untried');
  t.equal((await ask([NOT_RUNNING], 'accepted', never).state).kind, 'untried');
});

t.test('a dial that takes too long is called silent, unless the service has heard more', async (t) => {
  const run = ask([status({})], 'silent');
  await settled();
  run.clock.advance(4_600);
  t.match(await run.state, { kind: 'failed', code: 'proxy.handshake-silent' });
  const late = new Failure('proxy.handshake-silent', 'no answer');
  const heard = await ask([status(last('proxy.handshake-refused'))], late).state;
  t.match(heard, {
    kind: 'failed',
    code: 'proxy.handshake-refused',
    evidence: /dialled .*handshake-silent[\s\S]*the service/,
  });
  t.match(await ask([status(last('proxy.refused'))], late).state, { code: 'proxy.handshake-silent' });
  t.match(await ask([status(last('proxy.handshake-refused'))], new Failure('proxy.refused', 'x')).state, {
    code: 'proxy.refused',
  });
});
