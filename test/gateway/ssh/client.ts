import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import ssh2, { type ClientChannel, type Client as SshClient, type TcpConnectionDetails } from 'ssh2';
import type { Test } from 'tap';
import { endChild, run } from '../../support/processes.ts';
import { until } from '../../support/until.ts';

/** Options that keep a test away from the user's own configuration, agent and known hosts, and from any prompt. */
const QUIET = [
  ...['-F', '/dev/null'],
  ...['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'GlobalKnownHostsFile=/dev/null'].flatMap((one) => [
    '-o',
    one,
  ]),
];

/**
 * The arguments of a user, with what a test needs besides. Nothing here keeps ssh from asking a question. Those of the
 * caller stand in front: ssh takes the first value of an option.
 */
export function sshArgs(port: number, token: string, args: readonly string[]): string[] {
  return [...args, ...QUIET, '-p', String(port), `${token}@127.0.0.1`];
}

export interface RunningSsh {
  child: ChildProcess;
  stderr(): string;
  /** Ports that ssh said it was given, in the order of the requests. */
  ports(count: number): Promise<number[]>;
  /** Its exit code. */
  end: Promise<number | null>;
  stop(signal?: NodeJS.Signals): Promise<void>;
}

/** Runs ssh to its end. */
export function runSsh(port: number, token: string, args: readonly string[], command: readonly string[] = []) {
  return run('ssh', [...sshArgs(port, token, args), ...command], { timeoutMs: 20_000 });
}

/** Runs a program that is or starts an ssh, with no terminal to ask at. */
export function startProgram(t: Test, program: string, args: readonly string[], env = process.env): RunningSsh {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'], env });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const end = once(child, 'close').then(([code]) => code as number | null);
  const stop = (signal: NodeJS.Signals = 'SIGTERM') => endChild(child, signal);
  t.teardown(() => stop('SIGKILL'));
  const ports = () => [...said.matchAll(/^Allocated port (\d+) /gm)].map(([, port]) => Number(port));
  return {
    child,
    stderr: () => said,
    ports: (count) =>
      until(`${count} ports`, () => {
        if (child.exitCode !== null) throw new Error(`ssh ended:\n${said}`);
        return ports().length >= count && ports();
      }),
    end,
    stop,
  };
}

/** `ssh -N -R 0:localhost:PORT …`, as a device runs it. */
export function startSsh(t: Test, port: number, token: string, args: readonly string[]): RunningSsh {
  return startProgram(t, 'ssh', sshArgs(port, token, args));
}

/** `-R 0:localhost:PORT` for each. */
export const remotes = (...ports: number[]) => ports.flatMap((port) => ['-R', `0:localhost:${port}`]);

/** A device made of ssh2's client, which can be told to misbehave. */
export interface ScriptedDevice {
  client: SshClient;
  /** Asks for the next service and gives its public port. */
  forward(address?: string): Promise<number>;
  closed: Promise<unknown>;
}

export async function scriptedDevice(t: Test, port: number, token: string): Promise<ScriptedDevice> {
  const client = new ssh2.Client();
  const closed = new Promise<void>((resolve) => client.once('close', () => resolve()));
  client.on('error', () => undefined);
  client.connect({ host: '127.0.0.1', port, username: token, authHandler: ['none'] });
  t.teardown(() => client.destroy());
  await once(client, 'ready');
  return {
    client,
    closed,
    forward: (address = 'localhost') =>
      new Promise((resolve, reject) => {
        client.forwardIn(address, 0, (error, given) => (error ? reject(error) : resolve(given)));
      }),
  };
}

/** The next channel that the gateway opens, with what it says of the public client. */
export function nextChannel(client: SshClient): Promise<{ channel: ClientChannel; info: TcpConnectionDetails }> {
  return new Promise((resolve) => {
    client.once('tcp connection', (info, accept) => {
      const channel = accept();
      channel.on('error', () => undefined);
      resolve({ channel, info });
    });
  });
}

/** A public client: half-open allowed, and no error thrown. */
export function visit(t: Test, port: number): Socket {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
  socket.on('error', () => undefined);
  t.teardown(() => socket.destroy());
  return socket;
}
