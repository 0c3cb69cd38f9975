import type { Check } from './check.ts';
import { apiAuthorized } from './checks/api-authorized.ts';
import { apiAvailability } from './checks/api-availability.ts';
import { apiDevice } from './checks/api-device.ts';
import { apiReachable } from './checks/api-reachable.ts';
import { apiServices } from './checks/api-services.ts';
import { clockSane } from './checks/clock-sane.ts';
import { configIdentity } from './checks/config-identity.ts';
import { configValid } from './checks/config-valid.ts';
import { diskWritable } from './checks/disk-writable.ts';
import { dnsProxy } from './checks/dns-proxy.ts';
import { firewallInbound } from './checks/firewall-inbound.ts';
import { hostsAccess } from './checks/hosts-access.ts';
import { httpListening } from './checks/http-listening.ts';
import { identityDuplicate } from './checks/identity-duplicate.ts';
import { keysFile } from './checks/keys-file.ts';
import { keysPermissions } from './checks/keys-permissions.ts';
import { mdnsVisible } from './checks/mdns-visible.ts';
import { monitorFresh } from './checks/monitor-fresh.ts';
import { monitorNetstat } from './checks/monitor-netstat.ts';
import { pairingState } from './checks/pairing-state.ts';
import { proxyConnect } from './checks/proxy-connect.ts';
import { proxyHandshake } from './checks/proxy-handshake.ts';
import { proxySession } from './checks/proxy-session.ts';
import { proxyTls } from './checks/proxy-tls.ts';
import { publicPort } from './checks/public-port.ts';
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
import { tunnelServices } from './checks/tunnel-services.ts';
import { tunnelTarget } from './checks/tunnel-target.ts';

/** Every check that there is; the runner orders them by `CHECK_IDS`. */
export const CHECKS: readonly Check[] = [
  apiAuthorized,
  apiAvailability,
  apiDevice,
  apiReachable,
  apiServices,
  clockSane,
  configIdentity,
  configValid,
  diskWritable,
  dnsProxy,
  firewallInbound,
  hostsAccess,
  httpListening,
  identityDuplicate,
  keysFile,
  keysPermissions,
  mdnsVisible,
  monitorFresh,
  monitorNetstat,
  pairedBanner,
  pairedConfig,
  pairedForwarding,
  pairedKeys,
  pairedListens,
  pairedRunning,
  pairedUsers,
  pairingState,
  proxyConnect,
  proxyHandshake,
  proxySession,
  proxyTls,
  publicPort,
  runDir,
  serviceRunning,
  serviceVersion,
  sshdBanner,
  sshdBinary,
  sshdConfig,
  sshdForwarding,
  sshdKeys,
  sshdListens,
  sshdPenalties,
  sshdRunning,
  sshdUsers,
  tunnelServices,
  tunnelTarget,
];
