/**
 * What a device is for, tried on a board from its own network: it is paired and reached through the paired tunnel, and a
 * technician reaches it through a gateway. The programs on the other side (ssh, curl, the gateway) are this machine's.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { GATEWAY_PROGRAM, startTunnelGateway } from '../support/gateway.ts';
import { endChild, run } from '../support/processes.ts';
import { makeKey } from '../support/sshd.ts';
import { until } from '../support/until.ts';
import type { Board } from './board.ts';

/** Options of ssh that keep a test away from the user's own configuration, agent and known hosts. */
export const SSH = ['-F', '/dev/null', '-o', 'BatchMode=yes', '-o', 'IdentitiesOnly=yes', '-o', 'IdentityAgent=none'];
export const ANY_HOST = [
  '-o',
  'StrictHostKeyChecking=no',
  '-o',
  'UserKnownHostsFile=/dev/null',
  '-o',
  'ConnectTimeout=20',
];
/** Of the board's loopback: nothing else is there. */
const LOCAL_PORT = 15_000;

export interface Paired {
  /** The private key that the device has taken. */
  readonly key: string;
  /** Opens the paired tunnel; while it stands, `get` asks the device's own HTTP port through it. */
  tunnel(): Promise<{ get(path: string): Promise<string>; close(): Promise<void> }>;
}

/** Asks a path of the device's HTTP port from the board's network; empty where nobody answers. */
export async function ask(board: Pick<Board, 'inNet' | 'sh'>, path: string, port = 5000): Promise<string> {
  const [program = '', ...words] = board.inNet;
  return (await run(program, [...words, 'curl', '-sS', '--max-time', '10', `http://127.0.0.1:${port}${path}`])).stdout;
}

/** Sets a new key by `POST /zeroforce/setkey` as soon as pairing is open. */
export async function pair(
  t: Test,
  board: Pick<Board, 'inNet' | 'sh'>,
  { user = 'root', httpPort = 5000, sshPort = 8007 } = {},
): Promise<Paired> {
  const folder = temporary(t);
  const { path: key, publicKey } = await makeKey(join(folder, 'key'), 'home assistant');
  const curl = async (words: readonly string[]) => {
    const [program = '', ...prefix] = board.inNet;
    return (await run(program, [...prefix, 'curl', '-sS', '--max-time', '20', ...words])).stdout;
  };
  const url = `http://127.0.0.1:${httpPort}/zeroforce`;
  await until('pairing to be open', async () => (await curl([`${url}/readytopair`])) === 'true', 60_000);
  const answer = await curl(['--data-urlencode', `key=${publicKey}`, `${url}/setkey`]);
  if (answer !== '{"ok":true}') throw new Error(`the key was not taken: ${answer}`);
  return {
    key,
    tunnel: async () => {
      const [program = '', ...prefix] = board.inNet;
      const forward = ['-N', '-v', '-o', 'ExitOnForwardFailure=yes', '-L', `${LOCAL_PORT}:localhost:${httpPort}`];
      const target = ['-i', key, '-p', String(sshPort), `${user}@127.0.0.1`];
      // A service that was started listens a moment later.
      const greeting = `exec 3<>/dev/tcp/127.0.0.1/${sshPort} && head -c 4 <&3`;
      await until('sshd to greet', async () => {
        return (await run(program, [...prefix, 'bash', '-c', greeting], { timeoutMs: 5_000 })).stdout === 'SSH-';
      });
      const child = spawn(program, [...prefix, 'ssh', ...SSH, ...ANY_HOST, ...forward, ...target], {
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      t.teardown(() => endChild(child));
      await entered(child);
      return {
        get: (path) => curl([`http://127.0.0.1:${LOCAL_PORT}${path}`]),
        close: () => endChild(child),
      };
    },
  };
}

/** Pairs, and uses the paired tunnel: its flag appears, and pairing is closed while it stands. */
export async function expectPairs(
  t: Test,
  board: Pick<Board, 'inNet' | 'sh'>,
  options: Parameters<typeof pair>[2] = {},
): Promise<Paired> {
  const paired = await pair(t, board, options);
  const tunnel = await paired.tunnel();
  t.match(await tunnel.get('/zeroforce/info'), /"version"/, 'the device answers through the paired tunnel');
  await until('the monitor to see the tunnel', async () => {
    return (await board.sh('[ -e /run/zeroforce/tunnel_active ]')).code === 0;
  });
  t.equal(await tunnel.get('/zeroforce/readytopair'), 'false', 'and is closed for others');
  await tunnel.close();
  return paired;
}

export interface Proxy {
  /** Sections of /etc/zeroforce/config.json with which a board is the device of this gateway. */
  readonly meeting: Readonly<Record<string, unknown>>;
  readonly deviceKey: string;
  /** Waits until the device is connected. */
  online(): Promise<void>;
  /** Runs a command as root on the board, by ssh through the gateway; throws where it fails. */
  ssh(command: string): Promise<string>;
  stop(): Promise<void>;
}

/**
 * A gateway in the network of the board, which knows one device, and a technician's key on the board, for its maintenance
 * sshd (see `maintenanceSshd`). After a power cut of the
 * board its network is another one, so the gateway has to be started again: `folder` keeps ports, device and key.
 */
export async function gatewayFor(
  t: Test,
  board: Pick<Board, 'inNet' | 'write'>,
  folder = temporary(t),
): Promise<Proxy> {
  const wrapper = board.inNet;
  const gateway = await startTunnelGateway(folder, { GATEWAY_PORT_RANGE: '40000-40049', ...PORTS }, { wrapper });
  t.teardown(() => gateway.stop());
  const cli = async (words: readonly string[]) => {
    const [program = '', ...prefix] = wrapper;
    const env = { PATH: process.env.PATH, ...gateway.settings };
    const { code, stdout, stderr } = await run(program, [...prefix, GATEWAY_PROGRAM, ...words], { env });
    if (code !== 0) throw new Error(`tunnel-gateway ${words.join(' ')}: ${stdout}${stderr}`);
    return stdout;
  };
  const kept = join(folder, 'device.json');
  const first = await readJson(kept);
  const device = (first ?? JSON.parse(await cli(['device', 'add', '--json']))) as {
    devicekey: string;
    token_code: string;
  };
  if (first === null) {
    await writeFile(kept, JSON.stringify(device));
    await cli(['forwards', 'set', device.devicekey, 'ssh=22']);
    const { publicKey } = await makeKey(join(folder, 'technician'), 'technician');
    await board.write(TECHNICIANS, `${publicKey}\n`);
  }
  return {
    deviceKey: device.devicekey,
    meeting: {
      deviceKey: device.devicekey,
      token: device.token_code,
      proxy: { host: '127.0.0.1', port: gateway.ports.agent },
    },
    online: async () => {
      await until(
        'the device to be connected',
        async () => {
          return (await cli(['device', 'show', device.devicekey, '--json']).catch(() => '')).includes('"online": true');
        },
        60_000,
      );
    },
    ssh: async (command) => {
      const shown = await cli(['open', device.devicekey, 'ssh']);
      const [, port = ''] = /^ssh -p (\d+) /m.exec(shown) ?? [];
      const [program = '', ...prefix] = wrapper;
      const login = [...SSH, ...ANY_HOST, '-i', join(folder, 'technician'), '-p', port, 'root@127.0.0.1', command];
      const { code, stdout, stderr } = await run(program, [...prefix, 'ssh', ...login]);
      if (code !== 0) throw new Error(`ssh through the gateway ended with ${code}:\n${stdout}${stderr}`);
      return stdout;
    },
    stop: async () => {
      await gateway.stop();
    },
  };
}

const PORTS = { GATEWAY_AGENT_PORT: '9001', GATEWAY_SSH_PORT: '2222', GATEWAY_HTTP_PORT: '9443' };

/** Not root's own file: that is the one of pairing. */
const TECHNICIANS = '/etc/ssh/technicians';

/** Starts the sshd of the technician on port 22 of the board, as nobody's service: it lives until the power goes. */
export async function maintenanceSshd(board: Board): Promise<void> {
  const options = `-o PermitRootLogin=prohibit-password -o AuthorizedKeysFile=${TECHNICIANS}`;
  await board.must(`ssh-keygen -A && mkdir -p /run/sshd && /usr/sbin/sshd ${options}`);
}

/** A technician reaches the board through a gateway. The service must have `proxy.meeting` in its configuration. */
export async function expectTunnel(t: Test, proxy: Proxy): Promise<void> {
  await proxy.online();
  t.equal(await proxy.ssh('echo reached'), 'reached\n', 'a technician reaches the device through the gateway');
}

async function entered(child: ChildProcess): Promise<void> {
  let log = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    log += text;
  });
  await until('ssh to stand', () => {
    if (child.exitCode !== null) throw new Error(`ssh ended:\n${log}`);
    return log.includes('Entering interactive session');
  });
}

function temporary(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'zeroforce-use-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, 'utf8'));
  } catch {
    return null;
  }
}
