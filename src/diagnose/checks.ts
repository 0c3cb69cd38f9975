import type { Check } from './check.ts';
import { configValid } from './checks/config-valid.ts';
import { dnsProxy } from './checks/dns-proxy.ts';
import { identityDuplicate } from './checks/identity-duplicate.ts';
import { proxyConnect } from './checks/proxy-connect.ts';
import { proxyHandshake } from './checks/proxy-handshake.ts';
import { proxySession } from './checks/proxy-session.ts';
import { proxyTls } from './checks/proxy-tls.ts';
import { publicPort } from './checks/public-port.ts';
import { tunnelServices } from './checks/tunnel-services.ts';
import { tunnelTarget } from './checks/tunnel-target.ts';

/** Every check that there is; the runner orders them by `CHECK_IDS`. */
export const CHECKS: readonly Check[] = [
  configValid,
  dnsProxy,
  identityDuplicate,
  proxyConnect,
  proxyHandshake,
  proxySession,
  proxyTls,
  publicPort,
  tunnelServices,
  tunnelTarget,
];
