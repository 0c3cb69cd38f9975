import type { Check } from './check.ts';
import { clockSane } from './checks/clock-sane.ts';
import { configIdentity } from './checks/config-identity.ts';
import { configValid } from './checks/config-valid.ts';
import { diskWritable } from './checks/disk-writable.ts';
import { httpListening } from './checks/http-listening.ts';
import { keysFile } from './checks/keys-file.ts';
import { keysPermissions } from './checks/keys-permissions.ts';
import { mdnsVisible } from './checks/mdns-visible.ts';
import { monitorFresh } from './checks/monitor-fresh.ts';
import { monitorNetstat } from './checks/monitor-netstat.ts';
import { pairingState } from './checks/pairing-state.ts';
import { runDir } from './checks/run-dir.ts';
import { serviceRunning } from './checks/service-running.ts';
import { serviceVersion } from './checks/service-version.ts';
import { pairedBanner, sshdBanner } from './checks/sshd-banner.ts';
import { sshdBinary } from './checks/sshd-binary.ts';
import { pairedConfig, sshdConfig } from './checks/sshd-config.ts';
import { pairedForwarding, sshdForwarding } from './checks/sshd-forwarding.ts';
import { pairedKeys, sshdKeys } from './checks/sshd-keys.ts';
import { pairedListens, sshdListens } from './checks/sshd-listens.ts';
import { sshdPenalties } from './checks/sshd-penalties.ts';
import { pairedRunning, sshdRunning } from './checks/sshd-running.ts';
import { pairedUsers, sshdUsers } from './checks/sshd-users.ts';

/** Every check that there is; the runner orders them by `CHECK_IDS`. */
export const CHECKS: readonly Check[] = [
  clockSane,
  configIdentity,
  configValid,
  diskWritable,
  httpListening,
  keysFile,
  keysPermissions,
  mdnsVisible,
  monitorFresh,
  monitorNetstat,
  pairingState,
  runDir,
  serviceRunning,
  serviceVersion,
  sshdBinary,
  sshdConfig,
  sshdRunning,
  sshdListens,
  sshdBanner,
  sshdPenalties,
  sshdUsers,
  sshdKeys,
  sshdForwarding,
  pairedConfig,
  pairedRunning,
  pairedListens,
  pairedBanner,
  pairedUsers,
  pairedKeys,
  pairedForwarding,
];
