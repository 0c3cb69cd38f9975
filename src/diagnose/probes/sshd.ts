import { randomInt } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { pause } from '../../support/clock.ts';
import { PROBE_PORTS } from '../../support/own-probe.ts';
import type { Facts, Probe } from '../facts.ts';
import { parseIdentity } from '../proc/proc-text.ts';
import { parseSshdCommand } from '../sshd/command-line.ts';
import { type Contact, type Greeting, understand } from '../sshd/greeting.ts';
import {
  type Daemon,
  DEDICATED_CONFIGS,
  maintenanceServer,
  pairedServer,
  type Role,
  SSH_SERVERS,
  type SshServer,
  type View,
} from '../sshd/servers.ts';
import { type ContactOptions, contact } from './contact.ts';
import { listeners, programs } from './sockets.ts';

export type { Daemon, Role, SshServer };

/** A probe for each role. */
export function perRole<T>(look: (facts: Facts, role: Role) => Promise<T>): (role: Role) => Probe<T> {
  const probes: Record<Role, Probe<T>> = {
    sshd: (facts) => look(facts, 'sshd'),
    paired: (facts) => look(facts, 'paired'),
  };
  return (role) => probes[role];
}

/** How the init systems call them. */
export const SERVICE_NAMES: Readonly<Record<Role, readonly string[]>> = {
  sshd: ['ssh', 'sshd', 'dropbear'],
  paired: ['zeroforce-sshd'],
};

const view: Probe<View> = async (facts) => {
  const { all, ownersKnown } = await facts.get(listeners);
  const daemons = (await facts.get(programs))
    .filter(({ name, state, pid }) => SSH_SERVERS.has(name) && state !== 'Z' && isTrusted(pid))
    .map((program) => ({
      program,
      command: parseSshdCommand(program.words),
      listeners: all.filter(({ owners }) => owners.some(({ pid }) => pid === program.pid)),
    }))
    // One that listens nowhere here belongs to a container; one that serves a session may listen for its forwards.
    .filter(({ command, listeners: own }) => command.isListener && (own.length > 0 || !ownersKnown));
  const { config, options } = facts;
  return { config, options, sockets: all, daemons, ownAddresses: ownAddresses(), dedicatedConfig: dedicatedConfig() };
};

/** The one that is there. */
function dedicatedConfig(): string {
  return DEDICATED_CONFIGS.find((path) => existsSync(path)) ?? DEDICATED_CONFIGS[0];
}

/**
 * Any user can call a program sshd and let it listen. Only one of root, or of whoever makes the checks, counts as the
 * sshd of this machine: the file of it is run with the rights of the checks, and its `-f` is read and quoted.
 */
function isTrusted(pid: number): boolean {
  try {
    const uid = parseIdentity(readFileSync(`/proc/${pid}/status`, 'latin1'))?.uid;
    return uid === 0 || uid === process.geteuid?.();
  } catch {
    return false; // it has ended
  }
}

/** The SSH server of this role. */
export const sshServer = perRole(async (facts: Facts, role: Role): Promise<SshServer> => {
  const seen = await facts.get(view);
  return role === 'sshd' ? maintenanceServer(seen) : pairedServer(seen);
});

/** The IPv4 addresses of this machine in its networks. */
function ownAddresses(): string[] {
  const addresses = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  return addresses.filter(({ family, internal }) => family === 'IPv4' && !internal).map(({ address }) => address);
}

/** Why there is nothing to say about this server; null where there is. */
export async function absence(facts: Facts, role: Role): Promise<string | null> {
  if (role === 'sshd') return null;
  const { servesPaired, onPort, target, daemon } = await facts.get(sshServer('paired'));
  if (servesPaired) return `the sshd of the technician serves the paired tunnel, too: see sshd.*`;
  if (onPort.length > 0 || daemon !== null || existsSync(dedicatedConfig())) return null;
  const paired = await isPaired(facts);
  return paired
    ? null
    : `no dedicated sshd: no ${DEDICATED_CONFIGS.join(' or ')}, and nothing listens on port ${target.port}`;
}

/** A key alone may be anybody's: only where the service has seen its tunnel it is the paired one. */
async function isPaired({ config }: Facts): Promise<boolean> {
  const files = [config.pairing.authorizedKeysFile, join(config.stateDir, 'ever-paired')];
  const found = await Promise.all(
    files.map((file) =>
      stat(file).then(
        ({ size }) => size >= 0,
        () => false,
      ),
    ),
  );
  return found.every(Boolean);
}

/** How it greets clients, by the address that they come from. */
export interface Greetings {
  /** From the address that matters. */
  readonly first: Greeting;
  /** From another one; null where that was not tried. */
  readonly second: Greeting | null;
}

const GREETING_MS = 4_000;
/** Connections of this run may themselves be the ones that are too many; they are gone by then. */
const AGAIN_AFTER_MS = 500;
const TRIES_WHEN_FULL = 3;

const PORTS_TRIED = 8;
const TAKEN = new Set(['EADDRINUSE', 'EADDRNOTAVAIL']);

/** A connection that the monitor does not take for a tunnel. */
async function uncounted(options: ContactOptions): Promise<Contact> {
  for (let tries = 1; ; tries += 1) {
    const fromPort = PROBE_PORTS.first + randomInt(PROBE_PORTS.count);
    const made = await contact({ ...options, fromPort });
    const isTaken = made.kind === 'failed' && TAKEN.has(made.code);
    if (!isTaken || tries === PORTS_TRIED) return made;
  }
}

/** Real connections, one after the other: sshd drops some where many come at once (MaxStartups). */
export const greetings = perRole(async (facts: Facts, role: Role): Promise<Greetings> => {
  const { sources, lookAt } = await facts.get(sshServer(role));
  const { clock, signal } = facts;
  const from = async (address: string | null): Promise<Greeting> => {
    for (let tries = 1; ; tries += 1) {
      const options = { ...lookAt, from: address, timeoutMs: GREETING_MS, clock, signal };
      const isTunnelPort = lookAt.port === facts.config.tunnel.port;
      const greeting = understand(await (isTunnelPort ? uncounted(options) : contact(options)));
      if (greeting.kind !== 'full' || tries === TRIES_WHEN_FULL) return greeting;
      await pause(clock, AGAIN_AFTER_MS, signal);
    }
  };
  // From elsewhere the system chooses the address.
  const [one = null, other = null] = role === 'sshd' ? sources : [];
  const first = await from(one);
  // What has taken its time once would take it again, and the check has only so much.
  const slow = first.kind === 'silent' || first.kind === 'no-answer' || first.kind === 'full';
  return { first, second: other === null || slow ? null : await from(other) };
});
