import type { Test } from 'tap';
import { type RawAgent, type RawProxy, startRawProxy } from '../support/raw-proxy.ts';
import { until } from '../support/until.ts';
import { LAN_PEER, type Machine } from './machine.ts';

export const DEVICE_KEY = '3316a52eb08837267bf6bd3e2b2e8dc7';
export const TOKEN = '5ec2e7';
export const PROXY_NAME = 'proxy.example';
export const PROXY_PORT = 9001;

/** A device of the Meeting proxy in its home network; it tries once, and then leaves the way to the diagnosis. */
export function deviceConfig(proxy: object = {}, more: object = {}) {
  return {
    meeting: { deviceKey: DEVICE_KEY, token: TOKEN, proxy: { host: PROXY_NAME, port: PROXY_PORT, ...proxy } },
    services: { ssh: 22 },
    mdns: { enabled: false },
    reconnect: { minSeconds: 300, maxSeconds: 300 },
    ...more,
  };
}

/** What stands for the proxy's name in the machine's /etc/hosts; null for nothing. */
export async function nameProxy(device: Machine, address: string | null): Promise<void> {
  const line = address === null ? '' : `${address} ${PROXY_NAME}\n`;
  await device.write('/etc/hosts', `127.0.0.1 localhost raspi\n${line}`);
}

export interface ScriptedProxy extends RawProxy {
  /** What it does with each agent from now on, after its hello. */
  script: (agent: RawAgent) => void;
}

/** A proxy at the other machine of the home network, that does what the test tells it. */
export async function scriptedProxy(t: Test, device: Machine, port = PROXY_PORT, tls?: { key: Buffer; cert: Buffer }) {
  const scripted = { script: (agent: RawAgent) => agent.accept('v1') };
  const proxy = await startRawProxy({ mode: 'v1', reply: (agent) => scripted.script(agent), ...(tls && { tls }) });
  t.teardown(() => proxy.close());
  await device.expose(proxy.port, port, LAN_PEER);
  return { proxy, scripted };
}

/** Waits until the service says so of its tunnel. */
export async function untilTunnel(
  device: Machine,
  what: (tunnel: {
    state: string;
    sessions: number;
    attempts: number;
    lastFailure: { code: string } | null;
  }) => boolean,
): Promise<void> {
  await until('the tunnel of the service', async () => {
    const { stdout } = await device.agent(['status', '--json']);
    const { tunnel } = JSON.parse(stdout) as { tunnel: Parameters<typeof what>[0] };
    return what(tunnel);
  });
}
