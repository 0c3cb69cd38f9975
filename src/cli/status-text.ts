import type { DeviceStatus } from '../device.ts';
import { duration } from '../support/duration.ts';
import { counted, hostAndPort } from '../support/text.ts';
import { PLAIN, type Style } from './style.ts';

/** A status as a person reads it: a line a part, and under a failure what to do. */
export function statusText(status: DeviceStatus, style: Style = PLAIN): string {
  const { version, hostname, uptimeSeconds, pid, faults, notices } = status;
  const lines = [
    `${style.strong(`tunnel-agent ${version} on ${hostname}`)}, up ${duration(uptimeSeconds)}, process ${pid}`,
    line('pairing', pairingLine(status.pairing, style)),
    line('key', keyLine(status.pairing.key)),
    line('monitor', monitor(status.monitor)),
    line('http', status.http === null ? 'not listening' : hostAndPort(status.http.host, status.http.port)),
    line('mdns', mdns(status.mdns)),
    line('tunnel', tunnel(status.tunnel, style)),
    ...(status.tunnel?.forwards ?? []).map((forward) => line('', forwarded(forward))),
  ];
  const last = status.tunnel?.lastFailure;
  if (last) {
    lines.push(line('', `last failure ${ago(last)}: ${style.bad(last.sentence)}`));
    lines.push(line('', `${last.code}: ${last.remedy}`));
  }
  for (const failure of status.tunnel?.localFailures ?? []) {
    lines.push(line('', `a connection failed ${ago(failure)}: ${style.bad(failure.sentence)}`));
    lines.push(line('', `${failure.code}: ${failure.remedy}`));
  }
  if (status.diagnosis !== null) lines.push(...diagnosis(status.diagnosis, style));
  if (status.meetingApi !== null) lines.push(line('meeting', meeting(status.meetingApi)));
  for (const { code, sentence, remedy } of faults) {
    lines.push(line('fault', style.bad(sentence)), line('', `${code}: ${remedy}`));
  }
  for (const { code, sentence, remedy } of notices) {
    lines.push(line('note', style.warn(sentence)), line('', `${code}: ${remedy}`));
  }
  return `${lines.join('\n')}\n`;
}

const line = (name: string, text: string) => `  ${name.padEnd(8)} ${text}`;
const ago = ({ agoMs }: { agoMs: number }) => `${duration(agoMs / 1000)} ago`;

/** The rest of it is in `status --json`. */
const EVIDENCE_LINES = 6;

/** What the service has found out by itself about what keeps people out, or kept them out. */
function diagnosis(found: NonNullable<DeviceStatus['diagnosis']>, style: Style): string[] {
  const { check, summary, evidence, remedy, over } = found;
  const saw = evidence?.split('\n') ?? [];
  return [
    over ? line('was', `${summary} (over now)`) : line('cause', style.bad(summary)),
    line('', `${check}, found ${ago(found)}${remedy === null ? '' : `: ${remedy}`}`),
    ...saw.slice(0, EVIDENCE_LINES).map((each) => line('', `  ${each}`)),
    ...(saw.length > EVIDENCE_LINES ? [line('', '  …')] : []),
  ];
}

/** Whether anybody, or whoever knows the PIN, may pair now, and why. */
export function pairingLine(pairing: DeviceStatus['pairing'], style: Style): string {
  const { open, pinReady, reason, opensInSeconds, openedLocally } = pairing;
  const left = openedLocally === null ? '' : `, for ${duration(openedLocally.secondsLeft)} more`;
  if (open) return `${style.warn('open')}: ${reason}${left}`;
  if (pinReady) return `${style.good('open with the PIN')}: ${reason}`;
  const when = opensInSeconds ? `; opens in ${duration(opensInSeconds)}` : '';
  return `closed: ${reason}${when}`;
}

export function keyLine(installed: DeviceStatus['pairing']['key']): string {
  if (installed === null) return 'none';
  return 'failure' in installed ? installed.failure : `${installed.type} ${installed.fingerprint}`;
}

function monitor(state: DeviceStatus['monitor']): string {
  if (state === null) return "another program's (ZEROFORCE_MONITOR=off)";
  switch (state.kind) {
    case 'starting':
      return 'has not looked yet';
    case 'fault':
      return 'cannot tell whether a tunnel stands, see the fault';
    case 'active':
      return `a tunnel stands (${counted(state.connections, 'connection')})`;
    case 'none':
      return `no tunnel, for ${duration(state.sinceConnectedSeconds)}`;
  }
}

function mdns(state: DeviceStatus['mdns']): string {
  if (state === null) return 'off (mdns.enabled)';
  const announced = state.interfaces.filter((each) => each.state === 'announced').map(({ name }) => name);
  if (announced.length > 0) return `announced as ${state.name} on ${announced.join(', ')}`;
  const claiming = state.interfaces.some((each) => each.state === 'claiming');
  return claiming ? `asking whether the name ${state.name} is free` : 'not announced, see the fault';
}

function tunnel(state: DeviceStatus['tunnel'], style: Style): string {
  if (state === null) return 'none: without a complete identity the service runs pairing alone';
  const proxy = `${hostAndPort(state.proxy.host, state.proxy.port)}${state.proxy.tls ? ' over TLS' : ''}`;
  const since = duration(state.inStateMs / 1000);
  switch (state.state) {
    case 'up':
      return `${style.good('up')} for ${since} to ${proxy} (${state.protocol}), ${counted(state.streams, 'stream')} open`;
    case 'connecting':
      return `${style.warn('connecting')} to ${proxy} for ${since}`;
    case 'waiting':
      return `${style.bad('down')}; next attempt at ${proxy} in ${duration((state.nextAttemptInMs ?? 0) / 1000)}`;
    case 'stopped':
      return 'stopped';
  }
}

/** What fails stands among the faults, with what to do. */
function meeting(api: NonNullable<DeviceStatus['meetingApi']>): string {
  const { state, url, nextHeartbeatInMs, lastHeartbeat, authorized, services, availability } = api;
  const next = `next heartbeat in ${duration((nextHeartbeatInMs ?? 0) / 1000)}`;
  const last = lastHeartbeat === null ? 'none answered yet' : `last ${duration(lastHeartbeat.agoMs / 1000)} ago`;
  const enabled = services && Object.keys(services).filter((name) => services[name]);
  const parts = [
    `${state} at ${url}`,
    ...(state === 'stopped' || state === 'starting' ? [] : [last, next]),
    ...(authorized === null ? [] : [authorized ? 'authorized' : 'not authorized']),
    ...(availability === null ? [] : [`listed as ${availability}`]),
    ...(enabled === null ? [] : [`services there: ${enabled.join(', ') || 'none'}`]),
    ...upkeep('SSH key', api.sshKeyPublished, 'published'),
    ...upkeep('known_hosts', api.knownHosts, 'up to date'),
    ...upkeep('maintenance key', api.maintenanceKey, 'in place'),
  ];
  return parts.join('; ');
}

function upkeep(name: string, state: 'pending' | 'done' | 'failed' | null, done: string): string[] {
  return state === null ? [] : [`${name} ${state === 'done' ? done : state}`];
}

const forwarded = ({ name, localPort, remotePort }: { name: string; localPort: number; remotePort: number }) =>
  `${name}: port ${remotePort} of the gateway leads to port ${localPort} of this device`;
