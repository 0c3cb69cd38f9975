import type { DeviceStatus } from '../device.ts';

/** A status as a person reads it: a line a part, and under a failure what to do. */
export function statusText(status: DeviceStatus): string {
  const { version, hostname, uptimeSeconds, pid, faults, notices } = status;
  const lines = [
    `tunnel-agent ${version} on ${hostname}, up ${duration(uptimeSeconds)}, process ${pid}`,
    line('pairing', pairing(status.pairing)),
    line('key', key(status.pairing.key)),
    line('monitor', monitor(status.monitor)),
    line('http', status.http === null ? 'not listening' : `${bracketed(status.http.host)}:${status.http.port}`),
    line('mdns', mdns(status.mdns)),
    line('tunnel', tunnel(status.tunnel)),
  ];
  const last = status.tunnel?.lastFailure;
  if (last) {
    lines.push(line('', `last failure ${duration(last.agoMs / 1000)} ago: ${last.sentence}`));
    lines.push(line('', `${last.code}: ${last.remedy}`));
  }
  for (const { code, sentence, remedy } of faults) {
    lines.push(line('fault', sentence), line('', `${code}: ${remedy}`));
  }
  for (const { code, sentence, remedy } of notices) {
    lines.push(line('note', sentence), line('', `${code}: ${remedy}`));
  }
  return `${lines.join('\n')}\n`;
}

const line = (name: string, text: string) => `  ${name.padEnd(8)} ${text}`;

function pairing({ open, reason, opensInSeconds }: DeviceStatus['pairing']): string {
  if (open) return `open: ${reason}`;
  const when = opensInSeconds === null ? '' : `; opens in ${duration(opensInSeconds)}`;
  return `closed: ${reason}${when}`;
}

function key(installed: DeviceStatus['pairing']['key']): string {
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
  if (state === null) return 'off (ZEROFORCE_MDNS=0)';
  const announced = state.interfaces.filter((each) => each.state === 'announced').map(({ name }) => name);
  if (announced.length > 0) return `announced as ${state.name} on ${announced.join(', ')}`;
  const claiming = state.interfaces.some((each) => each.state === 'claiming');
  return claiming ? `asking whether the name ${state.name} is free` : 'not announced, see the fault';
}

function tunnel(state: DeviceStatus['tunnel']): string {
  if (state === null) return 'none: without a Meeting identity the service runs pairing alone';
  const proxy = `${bracketed(state.proxy.host)}:${state.proxy.port}${state.proxy.tls ? ' over TLS' : ''}`;
  const since = duration(state.inStateMs / 1000);
  switch (state.state) {
    case 'up':
      return `up for ${since} to ${proxy} (${state.protocol}), ${counted(state.streams, 'stream')} open`;
    case 'connecting':
      return `connecting to ${proxy} for ${since}`;
    case 'waiting':
      return `down; next attempt at ${proxy} in ${duration((state.nextAttemptInMs ?? 0) / 1000)}`;
    case 'stopped':
      return 'stopped';
  }
}

const bracketed = (host: string) => (host.includes(':') ? `[${host}]` : host);

/** The two largest units: `3 d 4 h`, `5 min 12 s`, `0 s`. */
function duration(seconds: number): string {
  const units: [number, string][] = [
    [86_400, 'd'],
    [3_600, 'h'],
    [60, 'min'],
    [1, 's'],
  ];
  let rest = Math.round(seconds);
  const parts: string[] = [];
  for (const [size, name] of units) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count > 0) parts.push(`${count} ${name}`);
  }
  return parts.slice(0, 2).join(' ') || '0 s';
}

const counted = (count: number, thing: string) => `${count} ${thing}${count === 1 ? '' : 's'}`;
