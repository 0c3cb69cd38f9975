import { lstat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { fileErrorReason } from '../../support/atomic-file.ts';
import { systemCode } from '../../support/failures.ts';
import { defineCheck } from '../check.ts';
import { agentService } from '../probes/agent-service.ts';
import { serviceProcess } from '../probes/service-processes.ts';

const WORLD_WRITE = 0o002;

export const runDir = defineCheck({
  id: 'run.dir',
  title: 'the run folder belongs to the service alone',
  explainedBy: ['disk.writable'],
  findings: {
    link: {
      status: 'fail',
      symptom: 'Pairing stays closed, and `tunnel-agent status` says that no service answers.',
      meaning: 'The run folder {folder} is no folder but {kind}, so the service does not use it',
      remedy: 'Remove it, and let the service make it: rm {folder}; {start}',
    },
    open: {
      status: 'fail',
      symptom: 'Pairing stays closed, and `tunnel-agent status` says that no service answers.',
      meaning: 'Everybody may write to the run folder {folder} (mode {mode}), so the service does not use it',
      remedy: 'chmod 0755 {folder}; {start}',
    },
    foreign: {
      status: 'fail',
      symptom: 'Pairing stays closed, and `tunnel-agent status` says that no service answers.',
      meaning: 'The run folder {folder} belongs to user {owner}, and the service is user {uid}',
      remedy: 'chown {uid} {folder}; {start}',
    },
    vanished: {
      status: 'warn',
      symptom: 'The file tunnel_active and the control socket are gone while the service runs.',
      meaning: 'The run folder {folder} is missing while the service runs; it makes the folder again within seconds',
      remedy: 'Find out who removes it: ls -ld {folder}',
    },
    impossible: {
      status: 'fail',
      symptom: 'Pairing stays closed, and `tunnel-agent status` says that no service answers.',
      meaning: 'The run folder {folder} cannot be reached: {why}',
      remedy: 'Check every folder above it: ls -ld {parent}',
    },
    hidden: {
      status: 'unknown',
      symptom: 'The diagnosis is made by another user than root.',
      meaning: 'This user may not look at the run folder {folder}',
      remedy: 'Run it as root: sudo tunnel-agent diagnose',
    },
  },
  async run(facts, say) {
    const folder = facts.config.runDir;
    const process = await serviceProcess(facts);
    const start = (await facts.get(agentService)).restart;
    try {
      const stats = await lstat(folder);
      const mode = (stats.mode & 0o7777).toString(8).padStart(4, '0');
      const evidence = `${folder}: mode ${mode}, owner ${stats.uid}:${stats.gid}`;
      if (!stats.isDirectory()) {
        const kind = stats.isSymbolicLink() ? 'a link' : 'a file';
        return say.found('link', { folder, kind, start }, `${evidence}, ${kind}`);
      }
      if ((stats.mode & WORLD_WRITE) !== 0) return say.found('open', { folder, mode, start }, evidence);
      const uid = process?.identity?.uid;
      if (uid !== undefined && uid !== stats.uid) {
        return say.found(
          'foreign',
          { folder, owner: stats.uid, uid, start },
          `${evidence}; process ${process?.pid} is user ${uid}`,
        );
      }
      return say.ok(`${folder}, mode ${mode}`, evidence);
    } catch (error) {
      const [code, why] = [systemCode(error), fileErrorReason(error)];
      const evidence = `${folder}: ${why}`;
      if (code === 'EACCES') return say.found('hidden', { folder }, evidence);
      if (code !== 'ENOENT') return say.found('impossible', { folder, why, parent: dirname(folder) }, evidence);
      if (process !== undefined) return say.found('vanished', { folder }, evidence);
      return say.ok(`${folder} is made when the service starts`, evidence);
    }
  },
});
