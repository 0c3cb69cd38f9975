import { FAILURES, type FailureCode } from '../../support/failures.ts';
import { defineCheck } from '../check.ts';

/**
 * Notes that are no alarm: a device for pairing alone needs no identity, and an address without TLS is what its
 * operator gave it. What follows from a fault is told with the fault, here or as config.identity.
 */
const BY_THE_WAY: ReadonlySet<FailureCode> = new Set<FailureCode>([
  'identity.missing',
  'identity.token-file',
  'meeting.api-plain',
  'config.last-good',
]);

export const configValid = defineCheck({
  id: 'config.valid',
  title: 'the configuration is valid',
  findings: {
    broken: {
      status: 'fail',
      symptom: 'The service ends with code 78, or runs with an older configuration.',
      meaning: 'The configuration has faults: {faults}',
      remedy: 'Correct them in {file}, then run: tunnel-agent config check',
    },
    exposed: {
      status: 'warn',
      symptom: 'Other users of the device can read or change its identity.',
      meaning: 'The token is exposed: {notes}',
      remedy: 'Let nobody but the service read and write the file: chmod 600 {file}',
    },
    noted: {
      status: 'warn',
      symptom: 'The service runs, and `tunnel-agent config check` prints notes.',
      meaning: 'The configuration is valid, with notes: {notes}',
      remedy: '{remedies}',
    },
    unreadable: {
      status: 'unknown',
      symptom: 'The diagnosis is made by another user than root.',
      meaning: 'This user may not read the configuration {file}',
      remedy: 'Run it as root: sudo tunnel-agent diagnose',
    },
  },
  run({ settings: { faults, notices, file, origin, isReadable } }, say) {
    const evidence = `read ${file}; the service would run with ${ORIGINS[origin]}`;
    if (!isReadable) return say.found('unreadable', { file }, evidence);
    if (faults.length > 0) return say.found('broken', { faults: faults.join(' | '), file }, evidence);
    const notes = notices.filter(({ code }) => !BY_THE_WAY.has(code));
    const told = notes.map(({ sentence }) => sentence).join(' | ');
    const exposed = notes.find(({ code }) => code === 'config.exposed');
    if (exposed !== undefined) {
      const at = / (\/\S+)/.exec(` ${exposed.sentence}`)?.[1] ?? file;
      return say.found('exposed', { notes: told, file: at }, evidence);
    }
    if (notes.length > 0) {
      const remedies = [...new Set(notes.map(({ code }) => FAILURES[code]))].join('; ');
      return say.found('noted', { notes: told, remedies }, evidence);
    }
    const aside = notices.filter(({ code }) => code === 'meeting.api-plain').map(({ sentence }) => `; ${sentence}`);
    return say.ok(`${origin === 'defaults' ? 'nothing is configured' : 'valid'}${aside.join('')}`, evidence);
  },
});

const ORIGINS = {
  file: 'this file',
  'last-good': 'the last configuration that worked',
  deployed: 'what older software has left',
  defaults: 'the defaults',
} as const;
