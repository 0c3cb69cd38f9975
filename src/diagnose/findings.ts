import type { Finding } from './check.ts';

// Findings that several checks have in common.

/** Of a check that has to ask the running service, where that cannot be: service.running says why. */
export const NOT_ASKED: Finding = {
  status: 'unknown',
  symptom: 'The diagnosis is made by another user than root, or the service uses other folders.',
  meaning: 'Not known, because the service could not be asked: {why}',
  remedy: 'See what service.running says; as root more is known: sudo tunnel-agent diagnose',
};
