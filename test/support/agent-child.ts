import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { systemClock } from '../../src/support/clock.ts';
import { createLog } from '../../src/support/log.ts';
import { TunnelAgent, type TunnelStatus } from '../../src/tunnel/agent.ts';
import { meetingTransport } from '../../src/tunnel/meeting-transport.ts';
import { endChild } from './processes.ts';

/** Agents in a process of their own: to be put into a network namespace, or to see that the process ends by itself. */

export interface ChildTarget {
  name: string;
  port: number;
  host?: string;
}

export interface AgentChild {
  /** Ends the agents; the process must then end by itself. */
  stop(): void;
  /** kill -9 */
  kill(): void;
  exitCode: Promise<number | null>;
  /** The next state of an agent, from now on, that passes. */
  until(name: string, what: (status: TunnelStatus) => boolean): Promise<TunnelStatus>;
}

/** @param prefix a command that runs the child, for example `ip netns exec NAME` */
export function startAgentChild(
  t: Test,
  targets: ChildTarget[],
  services: Record<string, number>,
  prefix: string[] = [],
): AgentChild {
  const command = [...prefix, process.execPath, fileURLToPath(import.meta.url), JSON.stringify({ targets, services })];
  const child = spawn(command[0] ?? '', command.slice(1), { stdio: ['pipe', 'pipe', 'inherit'] });
  t.teardown(() => endChild(child, 'SIGKILL'));
  const listeners = new Set<(name: string, status: TunnelStatus) => void>();
  createInterface(child.stdout).on('line', (line) => {
    const { name, status } = JSON.parse(line) as { name: string; status: TunnelStatus };
    for (const listener of [...listeners]) listener(name, status);
  });
  return {
    stop: () => child.stdin.end(),
    kill: () => void child.kill('SIGKILL'),
    exitCode: once(child, 'exit').then(([code]) => code as number | null),
    until: (name, what) =>
      new Promise((resolve) => {
        const listener = (from: string, status: TunnelStatus) => {
          if (from !== name || !what(status)) return;
          listeners.delete(listener);
          resolve(status);
        };
        listeners.add(listener);
      }),
  };
}

async function main(argument: string): Promise<void> {
  const { targets, services } = JSON.parse(argument) as { targets: ChildTarget[]; services: Record<string, number> };
  const agents = targets.map(
    ({ name, port, host = '127.0.0.1' }) =>
      new TunnelAgent({
        transport: meetingTransport({
          proxy: { host, port, tls: null },
          identity: { deviceKey: name, token: 'secret' },
          services,
          tunnelSource: '127.0.0.77',
          handshakeTimeoutMs: 2000,
          clock: systemClock,
        }),
        reconnect: { minMs: 200, maxMs: 1000 },
        clock: systemClock,
        random: Math.random,
        log: createLog('silent'),
        onChange: (status) => process.stdout.write(`${JSON.stringify({ name, status })}\n`),
      }),
  );
  for (const agent of agents) agent.start();
  process.stdin.resume();
  await once(process.stdin, 'end');
  await Promise.all(agents.map((agent) => agent.stop()));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(process.argv[2] ?? '');
