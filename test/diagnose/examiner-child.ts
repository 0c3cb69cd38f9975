import { createInterface } from 'node:readline';
import { requestControl } from '../../src/control/client.ts';
import { createTools, nameOf, readSettings } from '../../src/device/diagnosis-tools.ts';
import { CHECKS } from '../../src/diagnose/checks.ts';
import { DEFAULT_OPTIONS } from '../../src/diagnose/facts.ts';
import { runChecks } from '../../src/diagnose/runner.ts';
import type { ServiceStatus } from '../../src/diagnose/tools.ts';
import { systemClock } from '../../src/support/clock.ts';
import { createLog } from '../../src/support/log.ts';

// Makes the checks of `tunnel-agent diagnose` time and again, in one process: a request a line, a report a line.

const clock = systemClock;
console.log('examiner is ready');
for await (const line of createInterface({ input: process.stdin })) {
  const { env, network } = JSON.parse(line) as { env: Record<string, string>; network: boolean };
  const settings = await readSettings({ env });
  const { config } = settings;
  const service = async () =>
    (await requestControl(config.runDir, 'GET /status', { timeoutMs: 4_000 })) as ServiceStatus;
  const report = await runChecks({
    checks: CHECKS,
    subject: {
      version: process.argv[2] ?? '',
      settings,
      options: { ...DEFAULT_OPTIONS, network },
      tools: createTools(config, { service, clock, log: createLog('silent') }),
      clock,
    },
    device: nameOf(config),
    startedAt: new Date().toISOString(),
    signal: new AbortController().signal,
  });
  console.log(JSON.stringify(report));
}
