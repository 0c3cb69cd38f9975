import type { Check } from './check.ts';
import { configValid } from './checks/config-valid.ts';
import { firewallInbound } from './checks/firewall-inbound.ts';

/** Every check that there is; the runner orders them by `CHECK_IDS`. */
export const CHECKS: readonly Check[] = [configValid, firewallInbound];
