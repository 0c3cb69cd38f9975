import { asFailure, type FailureCode } from '../../support/failures.ts';
import { cleanText, counted } from '../../support/text.ts';
import { defineCheck } from '../check.ts';
import type { Facts } from '../facts.ts';
import { agentService } from '../probes/agent-service.ts';
import { connections } from '../probes/connections.ts';
import { service } from '../probes/service.ts';
import { settled } from '../settle.ts';

const SYMPTOM = 'Pairing stays closed, although no tunnel stands: it is not known whether one does.';

export const monitorNetstat = defineCheck({
  id: 'monitor.netstat',
  title: 'netstat shows the connections',
  findings: {
    missing: {
      status: 'fail',
      symptom: SYMPTOM,
      meaning: 'There is no program {netstat}',
      remedy: 'Install it (BusyBox with netstat, or the net-tools package), or name it with ZEROFORCE_NETSTAT',
    },
    failed: {
      status: 'fail',
      symptom: SYMPTOM,
      meaning: '{netstat} fails: {why}',
      remedy: 'Run it by hand and read what it says: {netstat} -tn; ls -l /proc/net/tcp',
    },
    hangs: {
      status: 'fail',
      symptom: SYMPTOM,
      meaning: '{netstat} gives no answer: {why}',
      remedy: 'Run it by hand; when it hangs, too, the system is overloaded or /proc cannot be read: {netstat} -tn',
    },
    unreadable: {
      status: 'fail',
      symptom: SYMPTOM,
      meaning: '{netstat} prints something else than a table of connections: {why}',
      remedy:
        'It must print a header and a line a connection: {netstat} -tn; or name another one with ZEROFORCE_NETSTAT',
    },
    onlyService: {
      status: 'fail',
      symptom: `${SYMPTOM} By hand, netstat works.`,
      meaning: '{netstat} works here, and fails for the service: {why}',
      remedy:
        'Look at what the service may not do (its user, the sandbox of its unit, its PATH): {show}; {netstat} -tn',
    },
  },
  async run(facts, say) {
    const { enabled, netstat, intervalMs } = facts.config.monitor;
    if (!enabled) return say.skip('an outside monitor keeps the flag (ZEROFORCE_MONITOR=0)');
    const command = `${netstat} -tn`;
    try {
      const all = await facts.get(connections);
      const evidence = `${command}: ${counted(all.length, 'connection')}`;
      const { problem, sure } = await settled(facts, intervalMs, () => faultOfService(facts));
      if (problem === null || !sure) return say.ok(`${netstat} shows ${counted(all.length, 'connection')}`, evidence);
      return say.found(
        'onlyService',
        { netstat, why: cleanText(problem), show: (await facts.get(agentService)).show },
        `${evidence}\ntunnel-agent status: ${problem}`,
      );
    } catch (error) {
      const failure = asFailure(error);
      return say.found(
        NAMES[failure.code] ?? 'failed',
        { netstat, why: cleanText(failure.message) },
        `${command}: ${cleanText(failure.message)}`,
      );
    }
  },
});

const NAMES: Partial<Record<FailureCode, 'missing' | 'hangs' | 'unreadable'>> = {
  'monitor.netstat-missing': 'missing',
  'monitor.netstat-timeout': 'hangs',
  'monitor.netstat-unreadable': 'unreadable',
};

/** What the service says of its own netstat now; null for nothing, and where it cannot be asked. */
async function faultOfService(facts: Facts): Promise<string | null> {
  const { status } = await facts.get(service);
  if (!status?.faults.some(isNetstat)) return null;
  const now = await facts.tools.service(facts.signal).catch(() => null);
  return now?.faults.find(isNetstat)?.sentence ?? null;
}

const isNetstat = ({ code }: { code: string }) => code.startsWith('monitor.netstat-');
