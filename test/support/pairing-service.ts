import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { AuditEntry } from '../../src/pairing/audit-entry.ts';
import { EverPaired } from '../../src/pairing/ever-paired.ts';
import { KeyFile } from '../../src/pairing/key-file.ts';
import {
  type KeyStore,
  type Observation,
  type PairedMarker,
  Pairing,
  type PairingOptions,
} from '../../src/pairing/pairing.ts';
import { PinFile } from '../../src/pairing/pin-file.ts';
import { PinGuard, type PinStore } from '../../src/pairing/pin-guard.ts';
import { FakeClock } from './fake-clock.ts';
import { testLog } from './test-log.ts';

export const TIMEOUT_MS = 600_000;

/** The parts that a test puts in place of the real ones. */
export type Changes = Omit<Partial<PairingOptions>, 'keyFile' | 'everPaired' | 'pin'> & {
  keyFile?: Partial<KeyStore>;
  everPaired?: Partial<PairedMarker>;
  pinFile?: Partial<PinStore>;
  tunnel?: Observation['kind'];
};

/** The service over real files; the tunnel is what the test says. A second call on the same folder is a restart. */
export function pairingService(
  folder: string,
  { keyFile, everPaired, pinFile, tunnel = 'none', ...changes }: Changes = {},
) {
  const { log, lines, has } = testLog();
  const clock = new FakeClock();
  const stateDir = join(folder, 'state');
  const keyPath = join(folder, 'ssh/authorized_keys');
  const markerPath = join(stateDir, 'ever-paired');
  const pinPath = join(stateDir, 'pairing-pin.json');
  const world = { tunnel, looks: 0 };
  const audit: AuditEntry[] = [];
  const realKeyFile = new KeyFile({ path: keyPath, log });
  const realMarker = new EverPaired({ stateDir });
  const realPinFile = new PinFile({ stateDir });
  const pairing = new Pairing({
    policy: 'open',
    timeoutMs: TIMEOUT_MS,
    remember: true,
    keyFile: {
      current: () => realKeyFile.current(),
      replace: (key) => realKeyFile.replace(key),
      remove: () => realKeyFile.remove(),
      ...keyFile,
    },
    everPaired: {
      read: () => realMarker.read(),
      remember: () => realMarker.remember(),
      forget: () => realMarker.forget(),
      ...everPaired,
    },
    pin: new PinGuard({
      file: {
        read: () => realPinFile.read(),
        write: (pin) => realPinFile.write(pin),
        remove: () => realPinFile.remove(),
        ...pinFile,
      },
      clock,
      log,
    }),
    audit: {
      record: async (entry) => {
        audit.push(entry);
      },
    },
    observe: async () => {
      world.looks += 1;
      return { kind: world.tunnel };
    },
    clock,
    log,
    ...changes,
  });
  const see = (kind: Observation['kind']) => {
    world.tunnel = kind;
    pairing.observed({ kind });
  };
  const textOf = (path: string) => readFile(path, 'utf8').catch(() => null);
  const marked = () =>
    stat(markerPath).then(
      () => true,
      () => false,
    );
  const failures = async () => JSON.parse((await textOf(pinPath)) ?? '{}').failures as number | undefined;
  return {
    pairing,
    clock,
    world,
    see,
    keyFileText: () => textOf(keyPath),
    pinFileText: () => textOf(pinPath),
    /** The count of wrong proofs on the disk. */
    failures,
    keyPath,
    markerPath,
    pinPath,
    marked,
    audit,
    lines,
    has,
  };
}

/** A promise and its end, to hold something in the middle. */
export function gate() {
  let open: () => void = () => undefined;
  const passed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { open, passed };
}
