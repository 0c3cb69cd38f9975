import type { Finding } from '../check.ts';

/** Of a check that rests on a session or on a dial, where there is neither. */
export const UNTRIED: Finding = {
  status: 'unknown',
  symptom: 'The diagnosis says nothing of the way to the other end.',
  meaning: 'Not known, because nothing was dialled: {why}',
  remedy: '{need}',
};
