import type { Config } from '../config/types.ts';
import { ControlServer } from '../control/server.ts';
import { type AuditRecord, AuditRing } from '../pairing/audit.ts';
import { EverPaired } from '../pairing/ever-paired.ts';
import { KeyFile } from '../pairing/key-file.ts';
import { type Observation, Pairing } from '../pairing/pairing.ts';
import { PinFile } from '../pairing/pin-file.ts';
import { PinGuard } from '../pairing/pin-guard.ts';
import { ResetButton } from '../reset/button.ts';
import { FactoryReset } from '../reset/factory-reset.ts';
import { ResetJournal } from '../reset/journal.ts';
import { endTunnelSessions, type SessionsEnd } from '../reset/tunnel-sessions.ts';
import { type Clock, systemClock } from '../support/clock.ts';
import { Failure } from '../support/failures.ts';
import { createLog, type Log } from '../support/log.ts';
import { prepareRunDir } from '../support/run-dir.ts';

export type { AuditRecord, SessionsEnd };

// Pairing and its reset as they are configured: for the service, and for the command that works without it.

export function createPairing(
  { pairing, stateDir }: Config,
  parts: { audit: AuditRing; observe: () => Promise<Observation>; clock: Clock; log: Log },
): Pairing {
  const { clock, log } = parts;
  return new Pairing({
    policy: pairing.policy,
    timeoutMs: pairing.timeoutMs,
    remember: pairing.remember,
    keyFile: new KeyFile({ path: pairing.authorizedKeysFile, keyOptions: pairing.keyOptions ?? '', log }),
    everPaired: new EverPaired({ stateDir }),
    pin: new PinGuard({ file: new PinFile({ stateDir }), clock, log }),
    ...parts,
  });
}

/**
 * @param look after the tunnels were ended: what is known of them is not so any more
 * @param tunnelPort as it is at that time
 */
export function createReset(
  { pairing: { resetFile }, stateDir }: Config,
  parts: {
    pairing: Pairing;
    audit: AuditRing;
    look: () => Promise<unknown>;
    tunnelPort: () => number;
    clock: Clock;
    log: Log;
  },
): FactoryReset {
  const { pairing, audit, look, tunnelPort, clock, log } = parts;
  return new FactoryReset({
    bootFile: resetFile,
    journal: new ResetJournal(stateDir),
    resetPairing: () => pairing.reset(),
    record: (source) => audit.record({ what: 'reset', source }),
    endSessions: async () => {
      const sessions = await endTunnelSessions(tunnelPort(), clock);
      await look();
      return sessions;
    },
    log,
  });
}

export function createButton(
  { pairing: { resetButton } }: Config,
  parts: { onHeld: () => void; clock: Clock; log: Log },
): ResetButton | null {
  return resetButton === null ? null : new ResetButton({ path: resetButton, ...parts });
}

/**
 * The same reset on the files alone, while no service runs. The control socket is held meanwhile, so that none starts
 * in the middle of it.
 *
 * @throws Failure `instance.running` where a service runs after all, `run-dir.unwritable`, or what `FactoryReset` throws
 */
export async function resetWithoutService(config: Config, log: Log): Promise<SessionsEnd> {
  const { runDir, stateDir } = config;
  const busy = async () => {
    throw new Failure('service.no-answer', 'pairing is being reset by a command, the service does not run');
  };
  const lock = new ControlServer({ runDir, routes: { 'GET /status': busy }, log });
  await prepareRunDir(runDir);
  await lock.start();
  try {
    const clock = systemClock;
    const observe = async (): Promise<Observation> => ({ kind: 'fault' }); // nobody asks
    const tunnelPort = () => config.tunnel.port;
    const audit = new AuditRing({ stateDir, log });
    const pairing = createPairing(config, { audit, observe, clock, log });
    return await createReset(config, { pairing, audit, look: observe, tunnelPort, clock, log }).run('local');
  } finally {
    await lock.stop();
  }
}

/** The first valid key of a key file, null where there is none. @throws Failure `key.unreadable` */
export function installedKey(path: string): Promise<{ fingerprint: string } | null> {
  return new KeyFile({ path, log: createLog('silent') }).current();
}

/** The marker "ever paired", for who looks at it or sets it while no service runs. */
export function everPairedIn(stateDir: string): EverPaired {
  return new EverPaired({ stateDir });
}

/** Ends what a service without root could not: the sessions of the tunnel, which are root's. */
export function endSessions({ tunnel }: Config): Promise<SessionsEnd> {
  return endTunnelSessions(tunnel.port, systemClock);
}

/** What is on record, for who asks while no service runs. @throws Failure `state.unreadable` */
export function auditWithoutService({ stateDir }: Config, log: Log): Promise<AuditRecord[]> {
  return new AuditRing({ stateDir, log }).read();
}
