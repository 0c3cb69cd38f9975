import { lstat, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../../support/failures.ts';
import { cleanText, counted } from '../../support/text.ts';
import { defineCheck } from '../check.ts';
import { judgeMonitor, type MonitorView } from '../device/monitor-view.ts';
import { NOT_ASKED } from '../findings.ts';
import { agentService } from '../probes/agent-service.ts';
import { connections, tunnelsAmong } from '../probes/connections.ts';
import { service } from '../probes/service.ts';
import { settled } from '../settle.ts';

/** How soon an outside monitor is expected to see a change: the deployed one looks as often. */
const OUTSIDE_MS = 5_000;

export const monitorFresh = defineCheck({
  id: 'monitor.fresh',
  title: 'the flag tunnel_active agrees with the connections',
  dependsOn: ['service.running'],
  explainedBy: ['monitor.netstat', 'disk.writable', 'run.dir'],
  findings: {
    fault: {
      status: 'fail',
      symptom: 'Pairing stays closed, although no tunnel stands: it is not known whether one does.',
      meaning: 'The monitor cannot do its work: {why}',
      remedy: 'Look at the run folder, which must belong to the service, with no links in it: ls -la {folder}',
    },
    stale: {
      status: 'fail',
      symptom: 'Pairing stays closed, although no tunnel stands.',
      meaning: 'The flag {flag} stands, and no connection to port {port} does: it is stale',
      remedy:
        'Restart the program that keeps it, or let the service do that (ZEROFORCE_MONITOR=1); or remove it: rm {flag}; {start}',
    },
    missed: {
      status: 'fail',
      symptom: 'Pairing opens to anybody while the paired client is connected.',
      meaning: 'A connection to port {port} stands, and the flag {flag} does not: the monitor does not see the tunnel',
      remedy: 'Restart the program that keeps it, or let the service do that (ZEROFORCE_MONITOR=1): {start}',
    },
    disagrees: {
      status: 'fail',
      symptom: 'Pairing opens and closes at the wrong times.',
      meaning: 'The monitor says {seen} of the tunnel, and the flag {flag} is {state}: another program changes it, too',
      remedy:
        'Stop the other monitor (the shell script of older firmware); only one may keep the flag: ls -l {flag}; {start}',
    },
    hung: {
      status: 'fail',
      symptom: 'Pairing does not open or close any more; since-connected does not change.',
      meaning: 'The monitor does not look any more: since-connected says {written} s, and the service {counted} s',
      remedy: 'Restart the service: {start}',
    },
    early: {
      status: 'unknown',
      symptom: 'The service or the tunnel was started a moment ago.',
      meaning: 'The monitor has not looked yet: {why}',
      remedy: 'Try again in a while: tunnel-agent diagnose --only monitor.fresh',
    },
    notAsked: NOT_ASKED,
  },
  async run(facts, say) {
    const { status, failure } = await facts.get(service);
    if (status === null) return say.found('notAsked', { why: failure.message });
    const { runDir, tunnel, monitor } = facts.config;
    const flag = join(runDir, 'tunnel_active');
    let view: MonitorView | null = null;
    // One that hangs would take all the time.
    const readable = await facts.get(connections).then(
      () => true,
      () => false,
    );
    const look = async () => {
      const now = (await facts.tools.service(facts.signal).catch(() => null)) ?? status;
      const all = readable ? await facts.tools.connections(facts.signal).catch(() => null) : null;
      view = {
        flag: await readFlag(flag),
        tunnels: all === null ? null : tunnelsAmong(all, facts).length,
        written: await readSeconds(join(runDir, 'since-connected')),
        monitor: now.monitor,
        fault:
          now.faults.find(({ code }) => code.startsWith('monitor.') || code === 'run-dir.unwritable')?.sentence ?? null,
      };
      return judgeMonitor(view, monitor);
    };
    const withinMs = !readable
      ? 0
      : status.monitor === null
        ? OUTSIDE_MS - 200
        : monitor.intervalMs + monitor.confirmMs;
    const { problem, sure } = await settled(facts, withinMs, look);
    const evidence = describe(view, flag, tunnel.port);
    if (problem === null) return say.ok(summaryOf(view), evidence);
    if (problem.kind === 'early' || !(sure || problem.kind === 'hung'))
      return say.found('early', { why: 'the last look is not long ago' }, evidence);
    const start = (await facts.get(agentService)).restart;
    const words = { ...problem, flag, port: tunnel.port, folder: runDir, start };
    return say.found(
      problem.kind,
      problem.kind === 'fault' ? { ...words, why: cleanText(problem.why) } : words,
      evidence,
    );
  },
});

function describe(view: MonitorView | null, flag: string, port: number): string | null {
  if (view === null) return null;
  const { tunnels, written, monitor } = view;
  const seen =
    tunnels === null ? 'netstat could not be read' : `${counted(tunnels, 'established connection')} to port ${port}`;
  const said = monitor === null ? 'an outside monitor keeps the flag' : `the monitor says ${monitor.kind}`;
  return `${flag} is ${view.flag}; ${seen}; ${said}${written === null ? '' : `; since-connected: ${written} s`}`;
}

function summaryOf(view: MonitorView | null): string {
  return view?.flag === 'present' ? 'a tunnel stands, and the flag says so' : 'no tunnel stands, and the flag says so';
}

async function readFlag(path: string): Promise<MonitorView['flag']> {
  return lstat(path).then(
    () => 'present',
    (error: unknown) => (systemCode(error) === 'ENOENT' ? 'absent' : 'unreadable'),
  );
}

/** Null where there is no such number: an outside monitor may not write it. */
async function readSeconds(path: string): Promise<number | null> {
  const text = await readFile(path, 'latin1').catch(() => '');
  return /^\d{1,12}\n?$/.test(text) ? Number(text) : null;
}
