import { type ChildProcess, spawn } from 'node:child_process';
import { connect, createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { AgentEntry } from '../../../src/gateway/agents/listener.ts';
import type { Session } from '../../../src/gateway/session.ts';
import { systemClock } from '../../../src/support/clock.ts';
import { createLog } from '../../../src/support/log.ts';
import { endChild } from '../../support/processes.ts';
import { listen } from '../../support/tcp-services.ts';
import { deviceOf, TestHost } from './support.ts';

/**
 * An agent entry in a process of its own: for a network namespace, for few file descriptors, or for its memory. It lets
 * in everybody. To a device whose key begins with `ticking` a client sends a byte a second.
 */

export type Report =
  | { what: 'listening'; port: number }
  | { what: 'started' | 'ended'; device: string; reason?: string; detail?: string | null }
  | { what: 'memory'; sessions: number; rss: number; heap: number; external: number }
  | { what: 'refused'; reason: string };

export interface GatewayChild {
  child: ChildProcess;
  /** Every report so far. */
  reports: Report[];
  /** The first report, past or to come, that passes. */
  until(what: (report: Report) => boolean): Promise<Report>;
  /** Asks for its memory after a collection of garbage. */
  memory(): Promise<Extract<Report, { what: 'memory' }>>;
}

/** @param prefix a command that runs the child, for example `ip netns exec NAME` */
export function startGatewayChild(t: Test, host: string, port: number, prefix: string[] = []): GatewayChild {
  const command = [...prefix, process.execPath, '--expose-gc', fileURLToPath(import.meta.url), host, String(port)];
  const child = spawn(command[0] ?? '', command.slice(1), { stdio: ['pipe', 'pipe', 'inherit'] });
  t.teardown(() => endChild(child, 'SIGKILL'));
  const reports: Report[] = [];
  const listeners = new Set<() => void>();
  createInterface(child.stdout).on('line', (line) => {
    reports.push(JSON.parse(line) as Report);
    for (const listener of [...listeners]) listener();
  });
  const until = (what: (report: Report) => boolean, from = 0) =>
    new Promise<Report>((resolve) => {
      const look = () => {
        const found = reports.slice(from).find(what);
        if (found === undefined) return;
        listeners.delete(look);
        resolve(found);
      };
      listeners.add(look);
      look();
    });
  return {
    child,
    reports,
    until,
    async memory() {
      const from = reports.length;
      child.stdin.write('memory\n');
      return (await until(({ what }) => what === 'memory', from)) as Extract<Report, { what: 'memory' }>;
    },
  };
}

class ReportingHost extends TestHost {
  override authentication = (key: string) => ({ device: deviceOf(key) });
  override started(session: Session): boolean {
    super.started(session);
    report({ what: 'started', device: session.deviceKey });
    if (session.deviceKey.startsWith('ticking')) void tick(session);
    return true;
  }
  override ended(session: Session, reason: never, detail: string | null): void {
    super.ended(session, reason, detail);
    report({ what: 'ended', device: session.deviceKey, reason, detail });
  }
  override rejected(_entry: string, _address: string, reason: string): void {
    report({ what: 'refused', reason });
  }
}

const report = (one: Report) => void process.stdout.write(`${JSON.stringify(one)}\n`);

async function tick(session: Session): Promise<void> {
  const server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) =>
    session.carry({ name: 'ticking', localPort: 22 }, socket),
  );
  const client = connect(await listen(server), '127.0.0.1');
  const timer = setInterval(() => client.write('.'), 1000);
  client
    .on('error', () => {})
    .on('close', () => {
      clearInterval(timer);
      server.close();
    });
  client.resume();
}

async function main(host: string, port: number): Promise<void> {
  const entryHost = new ReportingHost();
  const entry = new AgentEntry({
    host,
    port,
    tls: 'off',
    handshakeTimeoutMs: 10_000,
    keepaliveMs: 30_000,
    entryHost,
    certificate: null,
    clock: systemClock,
    nowMs: Date.now,
    log: createLog('silent'),
  });
  await entry.start();
  report({ what: 'listening', port: entry.address?.port ?? 0 });
  createInterface(process.stdin).on('line', () => {
    (globalThis as { gc?: () => void }).gc?.();
    const { rss, heapUsed, external } = process.memoryUsage();
    report({ what: 'memory', sessions: entryHost.current.size, rss, heap: heapUsed, external });
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(process.argv[2] ?? '', Number(process.argv[3]));
