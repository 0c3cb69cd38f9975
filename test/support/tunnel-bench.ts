import type { Test } from 'tap';
import { type Clock, systemClock } from '../../src/support/clock.ts';
import { TunnelAgent, type TunnelOptions, type TunnelStatus } from '../../src/tunnel/agent.ts';
import { type MeetingOptions, meetingTransport } from '../../src/tunnel/meeting-transport.ts';
import { type RawProxy, type RawProxyOptions, startRawProxy } from './raw-proxy.ts';
import { testLog } from './test-log.ts';

export const DEVICE_KEY = '3316a52eb08837267bf6bd3e2b2e8dc7';
export const TOKEN = '5ec2e7';

export interface RunningAgent {
  agent: TunnelAgent;
  logged: ReturnType<typeof testLog>;
  /** Every state so far, in order. */
  states: TunnelStatus[];
  /** The first state, past or to come, that passes. */
  until(what: (status: TunnelStatus) => boolean): Promise<TunnelStatus>;
}

/** Starts an agent towards a proxy port; it is stopped with the test, and its log must not hold the token. */
export function startAgent(
  t: Test,
  port: number,
  options: Partial<MeetingOptions & Omit<TunnelOptions, 'transport'>> = {},
): RunningAgent {
  const transport = meetingTransport({
    proxy: { host: '127.0.0.1', port, tls: null },
    identity: { deviceKey: DEVICE_KEY, token: TOKEN },
    services: {},
    tunnelSource: '127.0.0.77',
    handshakeTimeoutMs: 5000,
    clock: systemClock,
    ...options,
  });
  return watchAgent(t, { transport, ...options });
}

/** The same over any transport. */
export function watchAgent(
  t: Test,
  options: Partial<TunnelOptions> & Pick<TunnelOptions, 'transport'>,
  logged: ReturnType<typeof testLog> = testLog(),
): RunningAgent {
  const states: TunnelStatus[] = [];
  const waiting = new Set<() => void>();
  const agent = new TunnelAgent({
    reconnect: { minMs: 100, maxMs: 1000 },
    clock: systemClock,
    random: Math.random,
    log: logged.log,
    onChange: (status) => {
      states.push(status);
      for (const look of [...waiting]) look();
    },
    ...options,
  });
  t.teardown(async () => {
    await agent.stop();
    if (logged.has(new RegExp(options.transport.secret))) throw new Error('the token is in a log line');
  });
  agent.start();
  return {
    agent,
    logged,
    states,
    until: (what) =>
      new Promise((resolve) => {
        const look = () => {
          const found = states.find(what);
          if (found === undefined) return;
          waiting.delete(look);
          resolve(found);
        };
        waiting.add(look);
        look();
      }),
  };
}

/** A scripted proxy that ends with the test. */
export async function startProxy(t: Test, options: RawProxyOptions): Promise<RawProxy> {
  const proxy = await startRawProxy(options);
  t.teardown(() => proxy.close());
  return proxy;
}

/** Time that runs `factor` times as fast as it should, for deadlines of many seconds on real sockets. */
export function fastClock(factor: number): Clock {
  return {
    nowMs: () => systemClock.nowMs() * factor,
    after: (delayMs, fn) => systemClock.after(delayMs / factor, fn),
  };
}
