import { defineCheck } from '../check.ts';

export const configIdentity = defineCheck({
  id: 'config.identity',
  title: 'the device has an identity for its tunnel',
  dependsOn: ['config.valid'],
  findings: {
    broken: {
      status: 'fail',
      symptom: 'The service ends with code 78, or runs without a tunnel.',
      meaning: 'The identity of the device cannot be used: {faults}',
      remedy: 'Give what is missing in {file}, or remove the rest of the identity, then run: tunnel-agent config check',
    },
    half: {
      status: 'fail',
      symptom: 'The device can be paired, and never appears at the Meeting proxy.',
      meaning: 'The identity is not complete: {set} is there, {missing} is missing',
      remedy: 'Set {missing} in {file}, or MEETING_DEVICE_KEY, MEETING_TOKEN and MEETING_PROXY_HOST',
    },
    unreadable: {
      status: 'unknown',
      symptom: 'The diagnosis is made by another user than root.',
      meaning: 'This user may not read the identity: {faults}',
      remedy: 'Run it as root: sudo tunnel-agent diagnose',
    },
  },
  run({ config, isRoot, settings: { identity, file, isReadable } }, say) {
    const { faults, set, missing } = identity;
    if (faults.length > 0) {
      const unreadable = !isRoot && faults.every((fault) => fault.includes('that the service may read'));
      return say.found(unreadable ? 'unreadable' : 'broken', { faults: faults.join(' | '), file }, `read ${file}`);
    }
    const { meeting, ssh, transport } = config;
    if (meeting !== null) {
      const { host, port } = meeting.proxy;
      return say.ok(`${meeting.deviceKey} at the Meeting proxy ${host}:${port}`, `read ${file}`);
    }
    if (ssh !== null) return say.ok(`at the SSH gateway ${ssh.host}:${ssh.port}`, `read ${file}`);
    // Then nothing that rests on it is looked at: it would say that there is no tunnel.
    if (!isReadable) return say.skip(`not known, because this user may not read ${file}`);
    // Addresses are delivered to whole fleets, and older software gives every device a key: only a token is meant.
    if (set.some((key) => key.endsWith('.token'))) {
      return say.found('half', { set: set.join(', '), missing: missing.join(', '), file }, `read ${file}`);
    }
    const why = transport === 'none' ? 'the transport is none' : 'none is configured';
    return say.ok(`no tunnel: ${why}, and pairing runs alone`, `read ${file}`);
  },
});
