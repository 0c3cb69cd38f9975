import type { Check } from './check.ts';
import { configValid } from './checks/config-valid.ts';
import { firewallInbound } from './checks/firewall-inbound.ts';
import { hostsAccess } from './checks/hosts-access.ts';
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
  configValid,
  sshdBinary,
  sshdConfig,
  sshdRunning,
  sshdListens,
  hostsAccess,
  firewallInbound,
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
