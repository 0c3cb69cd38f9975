import { type Browser, chromium } from 'playwright-core';
import type { Test } from 'tap';
import type { PageStatus } from '../../src/page/page.ts';
import { findProgram } from '../support/requires.ts';

/** The Chromium of the system; `hosts` are names that lead to this machine. Ends with the test. */
export async function openBrowser(t: Test, hosts: readonly string[] = []): Promise<Browser> {
  const rules = hosts.map((host) => `MAP ${host} 127.0.0.1`).join(',');
  const browser = await chromium.launch({
    executablePath: findProgram('chromium') ?? '',
    args: ['--no-sandbox', '--disable-quic', '--disable-background-networking', `--host-resolver-rules=${rules}`],
  });
  t.teardown(() => browser.close());
  return browser;
}

export const FAILURE = {
  code: 'proxy.refused',
  sentence: 'proxy.example:9001 could not be reached: 192.0.2.7: connection refused (ECONNREFUSED)',
  remedy: 'Check MEETING_PROXY_HOST and MEETING_PROXY_PORT, and that the proxy runs',
  agoMs: 5_000,
};

/** A connection to a service of this device that came to nothing, and why. */
export const UNSERVED = {
  code: 'target.refused',
  sentence: 'stream 3 to port 22: 127.0.0.1:22 does not accept connections: ECONNREFUSED',
  remedy: 'Nothing listens on that local port: start the service',
  agoMs: 20_000,
};
export const CAUSE = { summary: 'No SSH server runs', remedy: 'systemctl start ssh', agoMs: 5_000, over: false };

/** Paired, connected, and reachable. */
export const CONNECTED: PageStatus = {
  version: '1.2.3',
  hostname: 'beamer-1',
  model: 'Raspberry Pi 4',
  deviceKey: '3316a52eb08837267bf6bd3e2b2e8dc7',
  uptimeSeconds: 273_605,
  pairing: {
    policy: 'open',
    open: false,
    pinReady: false,
    pin: { set: false, failuresLeft: 20, locked: false },
    openedLocally: null,
    reason: 'a tunnel stands',
    opensInSeconds: null,
    tunnel: 'active',
    everPaired: true,
    key: { type: 'ssh-ed25519', fingerprint: 'SHA256:qoN0lTxKD0m2BqTn0bXWJ6sVjm0l7s8mJZp4rX9yZ1A' },
  },
  monitor: { kind: 'active', sinceConnectedSeconds: 0 },
  tunnel: {
    transport: 'meeting',
    state: 'up',
    inStateMs: 312_000,
    proxy: { host: 'proxy.example', port: 9001, tls: true },
    forwards: [],
    streams: 2,
    nextAttemptInMs: null,
    lastFailure: null,
    localFailures: [],
  },
  meetingApi: null,
  mdns: null,
  diagnosis: null,
  faults: [],
  notices: [],
};

/** The same with another pairing and another tunnel. */
export function statusWith(
  pairing: Partial<PageStatus['pairing']>,
  tunnel: Partial<NonNullable<PageStatus['tunnel']>> | null = {},
): PageStatus {
  return {
    ...CONNECTED,
    pairing: { ...CONNECTED.pairing, ...pairing },
    monitor: { kind: pairing.tunnel === 'none' ? 'none' : 'active', sinceConnectedSeconds: 328 },
    tunnel: tunnel === null || CONNECTED.tunnel === null ? null : { ...CONNECTED.tunnel, ...tunnel },
  };
}

export const COUNTING = {
  tunnel: 'none',
  reason: 'there is no tunnel, but the pairing timeout has not passed yet',
  opensInSeconds: 272,
} as const;
export const NEVER_PAIRED = {
  tunnel: 'none',
  open: true,
  reason: 'the device has never been paired',
  opensInSeconds: 0,
  everPaired: false,
  key: null,
} as const;
export const DOWN = { state: 'waiting', nextAttemptInMs: 12_000, lastFailure: FAILURE } as const;
