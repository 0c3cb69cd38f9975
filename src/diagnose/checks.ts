import type { Check } from './check.ts';
import { apiAuthorized } from './checks/api-authorized.ts';
import { apiAvailability } from './checks/api-availability.ts';
import { apiDevice } from './checks/api-device.ts';
import { apiReachable } from './checks/api-reachable.ts';
import { apiServices } from './checks/api-services.ts';
import { configValid } from './checks/config-valid.ts';

/** Every check that there is; the runner orders them by `CHECK_IDS`. */
export const CHECKS: readonly Check[] = [
  configValid,
  apiReachable,
  apiDevice,
  apiAuthorized,
  apiServices,
  apiAvailability,
];
