import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { userInfo } from 'node:os';
import { join, resolve } from 'node:path';
import { endChild, freePort, run } from './processes.ts';
import { findProgram } from './requires.ts';
import { until } from './until.ts';

export interface Sshd {
  port: number;
  user: string;
  /** A known_hosts line for `[127.0.0.1]:port`. */
  knownHosts: string;
  log(): string;
  stop(): Promise<void>;
}

/**
 * Starts a real sshd on a free port of 127.0.0.1, in the foreground, with a host key of its own.
 *
 * @param dir a folder of the test, for configuration and host key; a key that is there is used again
 * @param config lines of sshd_config; Port, ListenAddress and HostKey are added in front, and the first value counts
 * @param place where else it is to listen; `wrapper` is a command that leads into another network namespace
 */
export async function startSshd(
  dir: string,
  config: string,
  place: { port?: number; address?: string; wrapper?: readonly string[] } = {},
): Promise<Sshd> {
  const program = findProgram('sshd');
  if (program === null) throw new Error('sshd is not installed');
  const { port = await freePort(), address = '127.0.0.1', wrapper = [] } = place;
  await mkdir(dir, { recursive: true, mode: 0o700 });
  if (process.getuid?.() === 0) await mkdir('/run/sshd', { recursive: true, mode: 0o755 });
  const hostKey = await hostKeyIn(dir);
  const file = join(dir, 'sshd_config');
  // The temporary folder lies below /tmp, which everybody may write to: StrictModes would refuse any key file there.
  const own = [`ListenAddress ${address}`, `Port ${port}`, `HostKey ${hostKey.path}`, 'PidFile none', 'StrictModes no'];
  await writeFile(file, `${[...own, config].join('\n')}\n`);

  const [command, ...args] = [...wrapper, program, '-D', '-e', '-f', file];
  const child = spawn(command ?? program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    log += text;
  });
  try {
    await until('sshd to answer', () => {
      if (child.exitCode !== null) throw new Error(`sshd ended:\n${log}`);
      return wrapper.length > 0 ? log.includes('Server listening on') : answers(port);
    });
  } catch (error) {
    await endChild(child);
    throw error;
  }
  return {
    port,
    user: userInfo().username,
    knownHosts: `[127.0.0.1]:${port} ${hostKey.publicKey}`,
    log: () => log,
    stop: () => endChild(child),
  };
}

const SHIPPED_CONFIG = resolve(import.meta.dirname, '../../../board/package/zeroforce-agent/beamer-ssh-tunnel');

/** The configuration that ships for port 8007, with this machine's ports, files and user in place of the device's. */
export async function hardenedConfig(authorizedKeys: string, apiPort: number): Promise<string> {
  const shipped = await readFile(SHIPPED_CONFIG, 'utf8');
  return shipped
    .replace(/^(Include|Port|HostKey|PidFile|StrictModes) .*$/gm, '')
    .replace(/^AllowUsers .*$/m, `AllowUsers ${userInfo().username}`)
    .replace(/^AuthorizedKeysFile .*$/m, `AuthorizedKeysFile ${authorizedKeys}`)
    .replaceAll(':5000', `:${apiPort}`);
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    const [banner] = (await once(socket, 'data')) as [Buffer];
    return banner.toString().startsWith('SSH-2.0');
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

async function hostKeyIn(dir: string): Promise<{ path: string; publicKey: string }> {
  const path = join(dir, 'host_key');
  if (!existsSync(path)) return makeKey(path, 'host');
  return { path, publicKey: (await readFile(`${path}.pub`, 'utf8')).trim() };
}

/** A fresh ed25519 key pair at `path` and `path.pub`. */
export async function makeKey(path: string, comment: string): Promise<{ path: string; publicKey: string }> {
  const made = await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', comment, '-f', path]);
  if (made.code !== 0) throw new Error(made.stderr);
  const shown = await run('ssh-keygen', ['-y', '-f', path]);
  return { path, publicKey: shown.stdout.trim() };
}

/** Options of ssh that keep a test away from the user's own configuration, agent and known hosts. */
export function sshOptions(key: string, knownHostsFile: string): string[] {
  const options = [
    'BatchMode=yes',
    'IdentitiesOnly=yes',
    'IdentityAgent=none',
    'StrictHostKeyChecking=yes',
    `UserKnownHostsFile=${knownHostsFile}`,
    'GlobalKnownHostsFile=/dev/null',
    'ConnectTimeout=20',
  ];
  return ['-F', '/dev/null', '-i', key, ...options.flatMap((option) => ['-o', option])];
}

/** A long-lived `ssh -N …`; resolves when it stands, by way of the master's own log line. */
export async function holdSsh(args: string[]): Promise<{ child: ChildProcess; log(): string; stop(): Promise<void> }> {
  const child = spawn('ssh', ['-v', '-N', '-o', 'ExitOnForwardFailure=yes', ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    log += text;
  });
  try {
    await until('ssh to stand', () => {
      if (child.exitCode !== null) throw new Error(`ssh ended:\n${log}`);
      return log.includes('Entering interactive session');
    });
  } catch (error) {
    await endChild(child);
    throw error;
  }
  return { child, log: () => log, stop: () => endChild(child) };
}
