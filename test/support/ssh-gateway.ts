import { type ChildProcess, spawn } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { runSsh } from '../../src/openssh/run.ts';
import type { Forward, SshEnd, SshOptions, SshSession } from '../../src/openssh/types.ts';
import { systemClock } from '../../src/support/clock.ts';
import { deferred } from '../../src/support/deferred.ts';
import { Failure } from '../../src/support/failures.ts';
import { descendants, endChild, freePort } from './processes.ts';
import { findProgram } from './requires.ts';
import { makeKey } from './sshd.ts';
import { testLog } from './test-log.ts';
import { until } from './until.ts';

/** As the gateway makes them (wire 5.9). */
export const TOKEN = 'MZXW6YTBOI2DQMRTGU3TSNZZHA4DMOJUGI2TGNBVGY3TQOJQGEZQ';

/** What `requires` is to be given for a gateway. */
export const GATEWAY_NEEDS = ['root', 'sshd', 'ssh', 'ssh-keygen', 'unshare', 'namespaces'] as const;

export interface SshGateway {
  port: number;
  /** `type base64`. */
  hostKey: string;
  log(): string;
  /** Ends it, and every connection with it. */
  stop(signal?: NodeJS.Signals): Promise<void>;
  /** Ends the connections alone, without a word. */
  drop(): void;
  /** Starts it again, on the same port and with the same key unless told otherwise. */
  start(options?: { hostKey?: 'new' }): Promise<void>;
}

/** A folder that goes with the test. */
export async function temporaryFolder(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'zeroforce-ssh-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/**
 * A real sshd that lets in the user TOKEN by the method `none`, as an SSH gateway does: it sees a user database of its
 * own, in a mount namespace, where that user has an empty password.
 *
 * @param config lines of sshd_config, which count before the usual ones
 * @param prefix a command that runs the server, for example `ip netns exec NAME`
 */
export async function startGateway(
  t: Test,
  { config = '', prefix = [] as readonly string[], address = '127.0.0.1' } = {},
): Promise<SshGateway> {
  const program = findProgram('sshd');
  if (program === null) throw new Error('sshd is not installed');
  const dir = await temporaryFolder(t);
  await mkdir('/run/sshd', { recursive: true, mode: 0o755 });
  const port = await freePort();
  const users = `mount --bind ${dir}/passwd /etc/passwd && mount --bind ${dir}/shadow /etc/shadow`;
  for (const [name, line] of [
    ['passwd', `${TOKEN}:x:4242:4242::/nonexistent:/bin/false`],
    ['shadow', `${TOKEN}::19000:0:99999:7:::`],
  ] as const) {
    await copyFile(`/etc/${name}`, join(dir, name));
    await writeFile(join(dir, name), `${await readFile(`/etc/${name}`, 'utf8')}${line}\n`);
  }
  const lines = [
    config,
    `ListenAddress ${address}`,
    'AddressFamily inet', // else a forward may get a port of ::1 that is another's on 127.0.0.1
    `Port ${port}`,
    `HostKey ${dir}/host_key`,
    'PidFile none',
    'StrictModes no',
    'UsePAM no',
    'AuthenticationMethods none',
    'PermitEmptyPasswords yes',
    'PermitOpen none',
    'PermitTTY no',
  ];
  await writeFile(join(dir, 'sshd_config'), `${lines.join('\n')}\n`);

  let child: ChildProcess | null = null;
  let log = '';
  const gateway: SshGateway = {
    port,
    hostKey: '',
    log: () => log,
    async stop(signal = 'SIGTERM') {
      if (child !== null) await endChild(child, signal);
      child = null;
    },
    drop() {
      for (const pid of descendants(child?.pid ?? 0)) process.kill(pid, 'SIGKILL');
    },
    async start({ hostKey } = {}) {
      if (gateway.hostKey === '' || hostKey === 'new') {
        for (const name of ['host_key', 'host_key.pub']) await rm(join(dir, name), { force: true });
        const { publicKey } = await makeKey(join(dir, 'host_key'), '');
        gateway.hostKey = publicKey.split(' ').slice(0, 2).join(' ');
      }
      const from = log.length;
      const run = `${users} && exec ${program} -D -e -f ${dir}/sshd_config`;
      const [command = '', ...args] = [...prefix, 'unshare', '-m', 'sh', '-c', run];
      const started = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
      child = started;
      started.stderr.setEncoding('utf8').on('data', (text: string) => {
        log += text;
      });
      await until('the gateway to listen', () => {
        if (started.exitCode !== null) throw new Error(`the gateway ended:\n${log}`);
        return log.slice(from).includes('Server listening on');
      });
    },
  };
  t.teardown(() => gateway.stop('SIGKILL'));
  await gateway.start();
  return gateway;
}

/** What a run of ssh towards this gateway needs, for a test to change. */
export async function sshOptions(t: Test, gateway: Pick<SshGateway, 'port' | 'hostKey'>): Promise<SshOptions> {
  return {
    program: process.env.ZEROFORCE_TEST_SSH ?? 'ssh', // another build, to try it
    host: '127.0.0.1',
    port: gateway.port,
    user: TOKEN,
    identityFile: null,
    hostKeys: { kind: 'pinned', key: gateway.hostKey },
    forwards: [],
    folder: join(await temporaryFolder(t), 'ssh'),
    connectTimeoutMs: 10_000,
    clock: systemClock,
    log: testLog().log,
  };
}

export const remote = (port: number): Forward => ({ kind: 'remote', target: { host: '127.0.0.1', port } });

export interface StartedRun {
  /** Resolves with the session, or rejects where none comes about. */
  up: Promise<SshSession>;
  /** As the promise of `runSsh`. */
  end: Promise<SshEnd>;
  notes: [string, string][];
  stop(): Promise<SshEnd>;
}

/** Runs ssh until the test, or the session, ends. */
export function startRun(t: Test, options: SshOptions): StartedRun {
  const stopping = new AbortController();
  const up = deferred<SshSession>();
  const notes: [string, string][] = [];
  const events = { up: up.resolve, note: (code: string, sentence: string) => void notes.push([code, sentence]) };
  const end = runSsh(options, events, stopping.signal);
  end.then(() => up.reject(new Error('the session ended')), up.reject);
  up.promise.catch(() => undefined);
  const stop = () => {
    stopping.abort();
    return end;
  };
  t.teardown(() => stop().catch(() => undefined));
  return { up: up.promise, end, notes, stop };
}

/** How a run fails that makes no session. */
export async function failureOf(t: Test, options: SshOptions): Promise<Failure> {
  try {
    await startRun(t, options).end;
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
  throw new Error('a session came about');
}
