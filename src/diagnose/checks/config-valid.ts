import { defineCheck } from '../check.ts';

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
    noted: {
      status: 'warn',
      symptom: 'The service runs, and `tunnel-agent config check` prints notes.',
      meaning: 'The configuration is valid, with notes: {notes}',
      remedy: 'Read them: tunnel-agent config check',
    },
  },
  run({ settings: { faults, notices, file, origin } }, say) {
    if (faults.length > 0) return say.found('broken', { faults: faults.join(' | '), file }, `read ${file}`);
    const notes = notices.map(({ sentence }) => sentence).join(' | ');
    if (notes !== '') return say.found('noted', { notes }, `read ${file} (${origin})`);
    return say.ok(`valid (${origin})`, `read ${file}`);
  },
});
