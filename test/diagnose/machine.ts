import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import { THREADS } from '../../src/cli/guard.ts';
import type { CheckReport, Report } from '../../src/diagnose/report.ts';
import { descendants, endChild, type Output, run } from '../support/processes.ts';
import { PROGRAM } from '../support/service.ts';
import { until } from '../support/until.ts';
import { relay } from './relay.ts';

export const NEEDS_MACHINE = [
  'root',
  'namespaces',
  'ip',
  'nsenter',
  'unshare',
  'sshd',
  'ssh-keygen',
  'netstat',
] as const;

/** Its own address in the home network, and the one of another machine there, which is its default route, too. */
export const ADDRESS = '192.168.77.10';
export const LAN_PEER = '192.168.77.1';

export interface Daemon {
  log(): string;
  stop(): Promise<void>;
}

export interface Diagnosis {
  code: number | null;
  report: Report;
  check(id: string): CheckReport;
}

/**
 * A throw-away machine: this one's programs, with /etc, /root, /home, /opt, /boot, /var and /run of its own, and with
 * processes, host name and network of its own. /tmp is shared. It ends with the test, and all that runs in it.
 */
export interface Machine {
  /** A command in front of another one, which then runs inside as root. */
  inside: readonly string[];
  /** The same at the other machine of the home network: only the network differs. */
  inLan: readonly string[];
  /** Where a file of the machine is found from outside. */
  path(path: string): string;
  /** Writes a file of the machine, and its folders. */
  write(path: string, text: string, mode?: number): Promise<void>;
  /** Runs a shell script inside; throws where it fails. */
  sh(script: string): Promise<Output>;
  /** Starts a program inside that stays; `ready` is what it prints when it can be used. */
  start(command: readonly string[], ready: RegExp | null, env?: Record<string, string>): Promise<Daemon>;
  /** `tunnel-agent ARGS` inside. */
  agent(args: readonly string[], env?: Record<string, string>): Promise<Output>;
  /**
   * `tunnel-agent diagnose --json ARGS` inside: the first time by the command itself, later by its parts in a process that
   * stays, at a third of the processor's time. What only a process of its own can do is done by the command each time.
   */
  diagnose(args?: readonly string[], env?: Record<string, string>): Promise<Diagnosis>;
  /** The same, always by the process that stays; without the network unless asked for. */
  examine(env?: Record<string, string>, options?: { network: boolean }): Promise<Diagnosis>;
  /** The sshd of the system with `lines` as its whole /etc/ssh/sshd_config, on port 22 where they do not say otherwise. */
  sshd(lines?: string, file?: string): Promise<Daemon>;
  /** Writes /etc/zeroforce/config.json. */
  configure(config: object): Promise<void>;
  /** The same, and waits until the running service has taken it on. */
  reconfigure(service: Daemon, config: object): Promise<void>;
  /** The service, as /etc/zeroforce/config.json says; ready when this returns. */
  service(env?: Record<string, string>): Promise<Daemon>;
  /**
   * Makes a TCP port of this test's process reachable at `port` of `host`, which is the machine's or the LAN peer's; an end
   * or a reset is passed on as an end.
   */
  expose(ownPort: number, port: number, host?: string): Promise<Daemon>;
}

const SETUP = resolve(import.meta.dirname, '../../../test/diagnose/machine.sh');
const RELAY = resolve(import.meta.dirname, 'relay-child.js');
/** What the configuration is read from; anything else changes the process itself. */
const SETTING = /^(?:ZEROFORCE|MEETING)_/;
const EXAMINER = resolve(import.meta.dirname, 'examiner-child.js');

export async function machine(t: Test, hostname = 'raspi'): Promise<Machine> {
  const folder = mkdtempSync(join(tmpdir(), 'zeroforce-machine-'));
  const holder = spawn(
    'unshare',
    [
      ...['--mount', '--net', '--pid', '--uts', '--ipc', '--fork', '--kill-child', '--mount-proc'],
      'sh',
      SETUP,
      folder,
      hostname,
    ],
    {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' },
    },
  );
  let said = '';
  holder.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const daemons = new Set<Daemon>();
  t.teardown(async () => {
    for (const daemon of daemons) await daemon.stop();
    await endChild(holder, 'SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  });
  const [, lan = ''] = await until('the machine', () => {
    if (holder.exitCode !== null) throw new Error('the machine did not start');
    return /^ready (\d+)$/m.exec(said);
  });
  const init = readFileSync(`/proc/${holder.pid}/task/${holder.pid}/children`, 'utf8').trim();
  const inside = ['nsenter', '-t', init, '-m', '-n', '-p', '-u', '-i', '--'];
  const inLan = [...inside, 'nsenter', '-t', lan, '-n', '--'];
  const path = (inner: string) => `/proc/${init}/root${inner}`;
  const base = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root' };

  const write: Machine['write'] = async (inner, text, mode = 0o644) => {
    await mkdir(path(dirname(inner)), { recursive: true });
    await writeFile(path(inner), text);
    await chmod(path(inner), mode);
  };
  const inRun = (command: readonly string[], env: Record<string, string> = {}) => {
    const [program = '', ...args] = [...inside, ...command];
    return run(program, args, { env: { ...base, ...env }, timeoutMs: 60_000 });
  };
  const start: Machine['start'] = async (command, ready, env = {}) => {
    const daemon = await startDaemon([...inside, ...command], ready, { ...base, ...env });
    daemons.add(daemon);
    return daemon;
  };
  const configure: Machine['configure'] = (config) =>
    write('/etc/zeroforce/config.json', JSON.stringify(config), 0o600);
  let examiner: Examiner | null = null;
  let commanded = false;
  const ask: Machine['diagnose'] = async (args = [], env = {}) => {
    examiner ??= await startExaminer(inside, { ...base, UV_THREADPOOL_SIZE: THREADS });
    daemons.add(examiner);
    const text = await examiner.ask(JSON.stringify({ args, env }));
    return diagnosis((JSON.parse(text) as Report).ok ? 0 : 1, text);
  };
  const agent: Machine['agent'] = (args, env) => inRun([PROGRAM, ...args], env);
  return {
    inside,
    inLan,
    path,
    write,
    async sh(script) {
      const output = await inRun(['sh', '-euc', script]);
      if (output.code !== 0) throw new Error(`${script}\n${output.stdout}${output.stderr}`);
      return output;
    },
    start,
    agent,
    async diagnose(args = [], env = {}) {
      const ownProcess = args.includes('--bundle') || Object.keys(env).some((name) => !SETTING.test(name));
      if (commanded && !ownProcess) return ask(args, env);
      commanded = true;
      const { code, stdout, stderr } = await agent(['diagnose', '--json', ...args], env);
      if (!stdout.startsWith('{')) throw new Error(`diagnose ended with ${code}: ${stdout}${stderr}`);
      return diagnosis(code, stdout);
    },
    examine: (env = {}, { network } = { network: false }) => ask(network ? [] : ['--no-network'], env),
    async sshd(lines = '', file = '/etc/ssh/sshd_config') {
      await write(file, `HostKey /etc/ssh/machine_host_key\n${lines}\n`, 0o600);
      return start(['/usr/sbin/sshd', '-D', '-e', '-f', file], /Server listening on/);
    },
    configure,
    async reconfigure(service, config) {
      const readings = () => service.log().split('the configuration was read anew').length;
      const before = readings();
      await configure(config);
      await until('the service to take it on', () => readings() > before);
    },
    service: (env) => start([PROGRAM, 'run'], /"the service is ready"/, env),
    async expose(ownPort, port, host = '127.0.0.1') {
      const socket = `${folder}.${host}.${port}.sock`; // beside the folder, which is another one inside
      const server = await relayTo(ownPort, socket);
      const where = host === LAN_PEER ? inLan.slice(inside.length) : [];
      const daemon = await start([...where, process.execPath, RELAY, host, String(port), socket], /listening/);
      const whole: Daemon = {
        log: daemon.log,
        async stop() {
          await daemon.stop();
          server.close();
          rmSync(socket, { force: true });
        },
      };
      daemons.add(whole);
      return whole;
    },
  };
}

function diagnosis(code: number | null, text: string): Diagnosis {
  const report = JSON.parse(text) as Report;
  return {
    code,
    report,
    check(id) {
      const found = report.checks.find((check) => check.id === id);
      if (found === undefined) throw new Error(`no check ${id} in the report`);
      return found;
    },
  };
}

interface Examiner extends Daemon {
  /** One question at a time. */
  ask(request: string): Promise<string>;
}

async function startExaminer(inside: readonly string[], env: Record<string, string>): Promise<Examiner> {
  const [program = '', ...args] = [...inside, process.execPath, EXAMINER];
  const child = spawn(program, args, { env, stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => {
    const { value, done } = await lines.next();
    if (done === true) throw new Error('the examiner has ended');
    return String(value);
  };
  await next();
  return {
    log: () => '',
    stop: () => endChild(child),
    ask(request) {
      child.stdin.write(`${request}\n`);
      return next();
    },
  };
}

/** A socket in the file system leads from one network namespace to another. */
async function relayTo(port: number, path: string): Promise<Server> {
  const server = createServer((near) => {
    relay(near, connect(port, '127.0.0.1'));
  });
  server.listen(path);
  await once(server, 'listening');
  return server;
}

async function startDaemon(
  command: readonly string[],
  ready: RegExp | null,
  env: Record<string, string>,
): Promise<Daemon> {
  const [program = '', ...args] = command;
  const child: ChildProcess = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      log += text;
    });
  }
  try {
    await until(command.join(' '), () => {
      if (child.exitCode !== null) throw new Error(`${command.join(' ')} ended with ${child.exitCode}:\n${log}`);
      return ready === null || ready.test(log);
    });
  } catch (error) {
    await endChild(child, 'SIGKILL');
    throw error;
  }
  return {
    log: () => log,
    async stop() {
      // nsenter would be gone before what it started, which may take its time to end.
      const below = child.exitCode === null && child.pid !== undefined ? descendants(child.pid) : [];
      const ended = once(child, 'exit');
      for (const pid of below) signal(pid, 'SIGTERM');
      if (below.length > 0) await Promise.race([ended, sleep(5_000, undefined, { ref: false })]);
      await endChild(child, below.length > 0 ? 'SIGKILL' : 'SIGTERM');
    },
  };
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // ended meanwhile
  }
}

/** `found` names the cause of what was made: it is the cause, and nothing else failed. */
export function expectCause(t: Test, { report, code }: Diagnosis, id: string, summary?: RegExp): void {
  const failed = report.checks
    .filter(({ status }) => status === 'fail')
    .map((check) => `${check.id}: ${check.summary}`);
  t.equal(report.cause, id, `the cause is ${id}`);
  t.equal(failed.length, 1, `nothing else fails: ${failed.join(' | ')}`);
  t.equal(code, 1);
  t.notOk(report.ok);
  const check = report.checks.find((each) => each.id === id);
  if (summary !== undefined) t.match(check?.summary, summary);
  t.type(check?.remedy, 'string', 'it says what to do');
  t.type(check?.evidence, 'string', 'it says what it saw');
}

/** Nothing failed, and nothing is to be looked at. */
export function expectHealthy(t: Test, { report, code }: Diagnosis, allowed: readonly string[] = []): void {
  const alarms = report.checks.filter(
    ({ id, status }) => (status === 'fail' || status === 'warn') && !allowed.includes(id),
  );
  t.strictSame(
    alarms.map(({ id, status, summary, evidence }) => `${id} ${status}: ${summary} (${evidence})`),
    [],
    'no false alarm',
  );
  t.equal(code, 0);
}
