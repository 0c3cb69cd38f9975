import type { Finding } from './check.ts';

// Findings that several checks have in common.

/** Of a check that has to ask the running service, where this user may not. */
export const NOT_ASKED: Finding = {
  status: 'unknown',
  symptom: 'The check is made by another user than root.',
  meaning: 'Not known, because the service could not be asked: {why}',
  remedy: 'Run it as root: sudo tunnel-agent diagnose',
};
