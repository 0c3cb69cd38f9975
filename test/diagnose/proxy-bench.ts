import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { requestControl } from '../../src/control/client.ts';
import { GATEWAY_PROGRAM, gatewaySettings } from '../support/gateway.ts';
import { run } from '../support/processes.ts';
import { type RawAgent, type RawProxy, startRawProxy } from '../support/raw-proxy.ts';
import { until } from '../support/until.ts';
import { type Daemon, LAN_PEER, type Machine } from './machine.ts';

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

/** What a proxy does with each agent from now on, after its hello. */
export interface Scripted {
  script: (agent: RawAgent) => void;
}

/** A proxy at the other machine of the home network, that does what the test tells it. */
export async function scriptedProxy(
  t: Test,
  device: Machine,
  port = PROXY_PORT,
  tls?: { key: Buffer; cert: Buffer },
): Promise<{ proxy: RawProxy; scripted: Scripted }> {
  const scripted: Scripted = { script: (agent) => agent.accept('v1') };
  const proxy = await startRawProxy({ mode: 'v1', reply: (agent) => scripted.script(agent), ...(tls && { tls }) });
  t.teardown(() => proxy.close());
  await device.expose(proxy.port, port, LAN_PEER);
  return { proxy, scripted };
}

export interface TunnelNow {
  state: string;
  inStateMs: number;
  sessions: number;
  attempts: number;
  lastFailure: { code: string } | null;
}

/** What the service says of itself, asked without a program of its own. */
async function statusOf(device: Machine): Promise<{ pid: number; tunnel: TunnelNow }> {
  return (await requestControl(device.path('/run/zeroforce'), 'GET /status')) as { pid: number; tunnel: TunnelNow };
}

/** Waits until the service says so of its tunnel. */
export function untilTunnel(device: Machine, what: (tunnel: TunnelNow) => boolean): Promise<TunnelNow> {
  return until('the tunnel of the service', async () => {
    const { tunnel } = await statusOf(device);
    return what(tunnel) ? tunnel : null;
  });
}

export interface LanGateway extends Daemon {
  ports: { agent: number; ssh: number };
  /** `type base64`. */
  hostKey: string;
  /** Runs a command of the program with `--json`. */
  json(...words: string[]): Promise<unknown>;
  /** Every event of a device so far. */
  events(deviceKey: string): Promise<string[]>;
}

/** Our gateway at the other machine of the home network, where its public ports listen, too. */
export async function gatewayInLan(t: Test, device: Machine): Promise<LanGateway> {
  const folder = mkdtempSync(join(tmpdir(), 'zeroforce-gateway-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const hosts = ['AGENT', 'SSH', 'BIND', 'PUBLIC'].map((name) => [`GATEWAY_${name}_HOST`, LAN_PEER]);
  const settings = await gatewaySettings(folder, Object.fromEntries(hosts) as Record<string, string>);
  const where = device.inLan.slice(device.inside.length);
  const daemon = await device.start([...where, GATEWAY_PROGRAM, 'serve'], /"the gateway is ready"/, settings);
  const line =
    daemon
      .log()
      .split('\n')
      .find((text) => text.includes('"the gateway is ready"')) ?? '';
  const ready = JSON.parse(line) as Record<'agent' | 'ssh' | 'http', { port: number }>;
  const env = { PATH: process.env.PATH, ...settings, GATEWAY_HTTP_PORT: String(ready.http.port) };
  const json: LanGateway['json'] = async (...words) => {
    const [program = '', ...args] = [...device.inLan, GATEWAY_PROGRAM, ...words, '--json'];
    const { code, stdout, stderr } = await run(program, args, { env });
    if (code !== 0) throw new Error(stderr);
    return JSON.parse(stdout) as unknown;
  };
  return {
    ...daemon,
    ports: { agent: ready.agent.port, ssh: ready.ssh.port },
    hostKey: readFileSync(join(folder, 'data', 'ssh_host_ed25519_key.pub'), 'utf8')
      .trim()
      .split(' ')
      .slice(0, 2)
      .join(' '),
    json,
    async events(deviceKey) {
      const { items } = (await json('logs', deviceKey)) as { items: { event: string; at: string }[] };
      return items.map(({ event, at }) => `${at} ${event}`);
    },
  };
}

/** Writes the configuration, and has the service read it now instead of within seconds. */
export async function reconfigure(device: Machine, config: object): Promise<void> {
  await device.configure(config);
  await device.sh(`kill -HUP ${(await statusOf(device)).pid}`);
}
