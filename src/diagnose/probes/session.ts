import { pause } from '../../support/clock.ts';
import { asFailure, Failure, type FailureCode } from '../../support/failures.ts';
import type { Facts, Probe } from '../facts.ts';
import { isPast, type Stage, stageOf } from '../proxy/stages.ts';
import type { ServiceStatus, TunnelTool } from '../tools.ts';
import { peerLookUp } from './look-up.ts';
import { service } from './service.ts';

export type ServiceTunnel = NonNullable<ServiceStatus['tunnel']>;

/** Whether a session with the other end comes about, and how that is known; `evidence` in words. */
export type SessionState = { evidence: string } & (
  | { kind: 'held'; status: ServiceStatus; tunnel: ServiceTunnel }
  /** A dial of ours was accepted, and ended in order; `status` of the service after it, null where none runs. */
  | { kind: 'accepted'; peerDeviceKey: string | null; before: ServiceStatus | null; status: ServiceStatus | null }
  | { kind: 'failed'; code: FailureCode; sentence: string; status: ServiceStatus | null }
  /** Nobody tried; `need` is what is needed for it. */
  | { kind: 'untried'; why: string; need: string }
);

/** A service that is about to try by itself is watched so long, before anything is dialled. */
const SETTLE_MS = 900;
const LOOK_EVERY_MS = 150;
/** For a dial in all; its steps are limited by the tool. Together with the above it fits into one check. */
const DIAL_MS = 4_600;

/**
 * Finds out whether the other end takes this device, and dials at most once. The identity of a device stands for one
 * session: while the service holds one, or may hold one, nothing is dialled unless that was asked for.
 */
export const session: Probe<SessionState> = async (facts) => {
  const { tunnel } = facts.tools;
  const { dial } = facts.options;
  if (tunnel === null) {
    return { kind: 'untried', evidence: '', why: 'no tunnel is configured', need: 'tunnel-agent config check' };
  }
  const asked = await watchService(facts);
  const status = asked instanceof Failure ? null : asked;
  if (status?.tunnel?.state === 'up' && dial !== 'always') {
    return { kind: 'held', evidence: heldEvidence(status.tunnel), status, tunnel: status.tunnel };
  }
  if (dial === 'never') return told(status);
  const obstacle = dial === 'always' ? null : await obstacleTo(asked, tunnel, facts);
  return obstacle ?? tried(tunnel, status, facts);
};

/** The status, once the service is not just about to dial by itself; or why there is none. */
async function watchService(facts: Facts): Promise<ServiceStatus | Failure> {
  const { clock, signal } = facts;
  const endMs = clock.nowMs() + SETTLE_MS;
  const asked = await facts.get(service);
  if (asked.failure !== null) return asked.failure;
  let { status } = asked;
  while (clock.nowMs() < endMs && !signal.aborted && isAboutToDial(status.tunnel)) {
    await pause(clock, LOOK_EVERY_MS, signal);
    status = await facts.tools.service(signal).catch(() => status);
  }
  return status;
}

function isAboutToDial(tunnel: ServiceStatus['tunnel']): boolean {
  if (tunnel?.state === 'waiting') return tunnel.nextAttemptInMs !== null && tunnel.nextAttemptInMs < SETTLE_MS;
  return tunnel?.state === 'connecting';
}

/** What the service itself met last. */
function told(status: ServiceStatus | null): SessionState {
  const last = status?.tunnel?.lastFailure ?? null;
  if (status === null || last === null) {
    const why = status === null ? 'no service could be asked' : 'the service has not tried yet';
    return { kind: 'untried', evidence: '', why, need: 'Dial by: tunnel-agent diagnose' };
  }
  const { code, sentence, agoMs } = last;
  const evidence = `the service, ${seconds(agoMs)} ago: ${code}: ${sentence}`;
  return { kind: 'failed', evidence, code, sentence, status };
}

/** Why nothing may be dialled: somebody could hold the session of this device. */
async function obstacleTo(
  asked: ServiceStatus | Failure,
  tunnel: TunnelTool,
  facts: Facts,
): Promise<(SessionState & { kind: 'untried' }) | null> {
  if (!(asked instanceof Failure)) return null;
  const untried = (why: string, need: string, evidence: string) => ({ kind: 'untried' as const, evidence, why, need });
  if (asked.code !== 'service.not-running') {
    const need = 'Run it as root, or dial all the same, which replaces a session: tunnel-agent diagnose --dial';
    return untried('the service runs and cannot be asked whether it holds a session', need, asked.message);
  }
  const line = await connectionTo(tunnel, facts);
  if (line === null) return null;
  const need = `Find its program: ss -tnp; or dial all the same, which replaces its session: tunnel-agent diagnose --dial`;
  return untried('a connection to the other end stands, and no service answers for it', need, line);
}

/** A connection of this machine to the other end that stands, as netstat shows it. */
async function connectionTo({ peer }: TunnelTool, facts: Facts): Promise<string | null> {
  const looked = await facts.get(peerLookUp);
  const addresses = looked !== null && 'addresses' in looked ? looked.addresses : [];
  const connections = await facts.tools.connections(facts.signal).catch(() => []);
  const found = connections.find(
    ({ state, remote }) => state === 'ESTABLISHED' && remote.port === peer.port && addresses.includes(remote.address),
  );
  if (found === undefined) return null;
  return `netstat: ${found.local.address}:${found.local.port} to ${found.remote.address}:${found.remote.port} ESTABLISHED`;
}

async function tried(tunnel: TunnelTool, before: ServiceStatus | null, facts: Facts): Promise<SessionState> {
  const { clock, signal } = facts;
  const startMs = clock.nowMs();
  const limit = new AbortController();
  const cancel = clock.after(DIAL_MS, () => limit.abort(silent(tunnel)));
  const onAbort = () => limit.abort(signal.reason);
  signal.addEventListener('abort', onAbort);
  const how = () => `dialled ${address(tunnel)} as this device, ${seconds(clock.nowMs() - startMs)}`;
  const statusAfter = () => (before === null ? null : facts.tools.service(signal).catch(() => null));
  try {
    const { protocol, peerDeviceKey } = await tunnel.dial(limit.signal);
    const evidence = `${how()}: accepted (${protocol}), and ended in order`;
    return { kind: 'accepted', evidence, peerDeviceKey, before, status: await statusAfter() };
  } catch (error) {
    // The steps have limits of their own: only one that began late can be cut off by ours.
    const failure = limit.signal.aborted && !signal.aborted ? silent(tunnel) : asFailure(error);
    const { code, message } = failure;
    const evidence = `${how()}: ${code}: ${message}`;
    return moreTelling(before, code, evidence) ?? { kind: 'failed', evidence, code, sentence: message, status: before };
  } finally {
    cancel();
    signal.removeEventListener('abort', onAbort);
  }
}

/**
 * The service waits longer than a dial of the diagnosis can: where this one met silence, and the service had an answer,
 * that one counts. A gateway delays its answers where tokens were wrong.
 */
function moreTelling(status: ServiceStatus | null, dialled: FailureCode, evidence: string): SessionState | null {
  const isSilence = (code: FailureCode) => code === 'proxy.handshake-silent' || code === 'ssh.silent';
  const last = status?.tunnel?.lastFailure ?? null;
  if (!isSilence(dialled) || last === null) return null;
  if (stageOf(last.code) !== 'handshake' || isSilence(last.code)) return null;
  const state = told(status);
  return { ...state, evidence: `${evidence}\n${state.evidence}` };
}

function silent(tunnel: TunnelTool): Failure {
  const code = tunnel.transport === 'ssh' ? 'ssh.silent' : 'proxy.handshake-silent';
  return new Failure(code, `${address(tunnel)} did not finish the handshake within ${DIAL_MS / 1000} s`);
}

const address = ({ transport, peer: { host, port, tls } }: TunnelTool) =>
  `${transport === 'ssh' ? 'the SSH gateway' : 'the proxy'} ${host}:${port}${tls ? ' (TLS)' : ''}`;

function heldEvidence({ transport, protocol, proxy: { host, port, tls }, inStateMs }: ServiceTunnel): string {
  const over = transport === 'ssh' ? 'ssh' : `${protocol}${tls ? ' over TLS' : ', no TLS'}`;
  return `the service holds a session with ${host}:${port} (${over}) for ${seconds(inStateMs)}; nothing was dialled`;
}

const seconds = (ms: number) => (ms < 10_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 1000)} s`);

/** How far an attempt came, for the check of one step. */
export type Step =
  | { kind: 'passed'; evidence: string }
  | { kind: 'failed'; code: FailureCode; sentence: string; evidence: string }
  | { kind: 'untried'; why: string; need: string; evidence: string };

export async function stepOf(stage: Stage, facts: Facts): Promise<Step> {
  const state = await facts.get(session);
  const { evidence } = state;
  if (state.kind === 'untried') return state;
  if (state.kind !== 'failed' || isPast(stage, state.code)) return { kind: 'passed', evidence };
  const { code, sentence } = state;
  if (stageOf(code) === stage) return { kind: 'failed', code, sentence, evidence };
  return {
    kind: 'untried',
    why: `it did not come as far as that: ${sentence}`,
    need: 'tunnel-agent diagnose',
    evidence,
  };
}
