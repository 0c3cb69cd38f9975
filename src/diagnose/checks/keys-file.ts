import { fingerprintOf } from '../../support/ssh-blob.ts';
import { counted } from '../../support/text.ts';
import { defineCheck } from '../check.ts';
import { isExpired } from '../keys/key-expiry.ts';
import { keyFile } from '../probes/key-file.ts';

const SYMPTOM = 'The paired client is refused: "Permission denied (publickey)".';

export const keysFile = defineCheck({
  id: 'keys.file',
  title: 'the key file holds the key of the paired client',
  explainedBy: ['clock.sane'],
  findings: {
    missing: {
      status: 'fail',
      symptom: SYMPTOM,
      meaning: 'The device was paired, and there is no key file {file}',
      remedy:
        'Pair it again: tunnel-agent pairing open; if another program keeps the key, set pairing.authorizedKeysFile to its file',
    },
    noKey: {
      status: 'fail',
      symptom: SYMPTOM,
      meaning: 'The device was paired, and the key file {file} holds no key',
      remedy: 'Pair it again: tunnel-agent pairing open; find out who changed the file: ls -l {file}',
    },
    lost: {
      status: 'warn',
      symptom: 'Nobody can log in to the tunnel, and pairing opens only after the timeout.',
      meaning: 'The device counts as paired, and there is no key in {file}',
      remedy: 'If it was paired, pair it again: tunnel-agent pairing open; if it never was: tunnel-agent pairing reset',
    },
    unreadable: {
      status: 'fail',
      symptom: 'Nobody can pair, and the device counts as paired.',
      meaning: 'The key file {file} cannot be read: {why}',
      remedy: 'It must be a regular file: ls -ld {file}; where it is something else, remove it',
    },
    expired: {
      status: 'fail',
      symptom: SYMPTOM,
      meaning: 'The key in {file} has expired (its option expiry-time)',
      remedy: 'Remove the option in the file, or pair the device again: tunnel-agent pairing open',
    },
    several: {
      status: 'warn',
      symptom: 'More than one client can log in; the next pairing removes all of them but one.',
      meaning:
        'The key file {file} of a paired device holds {count} keys; pairing leaves exactly one, so the others were added by hand',
      remedy:
        'Remove the keys that nobody knows: ssh-keygen -lf {file}; keys of technicians belong to another user or file',
    },
    strange: {
      status: 'warn',
      symptom: 'A key that was added by hand does not work.',
      meaning: 'Lines of {file} hold no key that sshd knows: {lines}',
      remedy: 'Correct or remove them; a key is one whole line: ssh-keygen -lf {file}',
    },
    hidden: {
      status: 'unknown',
      symptom: 'The diagnosis is made by another user than root.',
      meaning: 'This user may not read the key file {file}',
      remedy: 'Run it as root: sudo tunnel-agent diagnose',
    },
  },
  async run(facts, say) {
    const { path: file, file: found, link, paired } = await facts.get(keyFile);
    const via = link === null ? file : `${file} -> ${link}`;
    if (found.kind === 'unreadable') {
      const evidence = `${via}: ${found.why}`;
      return found.denied && !facts.isRoot
        ? say.found('hidden', { file }, evidence)
        : say.found('unreadable', { file, why: found.why }, evidence);
    }
    const keys = found.kind === 'read' ? found.keys : [];
    const past = { yes: 'a key was set by pairing', perhaps: 'a tunnel was seen, or feared', no: 'never paired' }[
      paired ?? 'no'
    ];
    const evidence = [
      `${via}: ${found.kind === 'missing' ? 'no such file' : counted(keys.length, 'key')}; ${past}`,
      ...keys.slice(0, 5).map(({ type, key, options }) => {
        const named = options.map(({ name }) => name).join(',');
        return `${type} ${fingerprintOf(Buffer.from(key, 'base64'))}${named === '' ? '' : ` (${named})`}`;
      }),
    ].join('\n');
    if (keys.length === 0) {
      if (paired === 'yes') return say.found(found.kind === 'missing' ? 'missing' : 'noKey', { file }, evidence);
      if (paired === 'perhaps') return say.found('lost', { file }, evidence);
      return say.skip('nobody has paired yet: there is no key', evidence);
    }
    const nowMs = Date.now();
    if (keys.every((key) => isExpired(key, nowMs))) return say.found('expired', { file }, evidence);
    const strange = found.kind === 'read' ? found.strange : [];
    if (strange.length > 0) {
      return say.found('strange', { file, lines: `line ${strange.slice(0, 5).join(', ')}` }, evidence);
    }
    if (keys.length > 1 && paired !== 'no' && paired !== null) {
      return say.found('several', { file, count: keys.length }, evidence);
    }
    return say.ok(counted(keys.length, 'key'), evidence);
  },
});
