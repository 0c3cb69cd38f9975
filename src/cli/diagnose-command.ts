import { requestControl } from '../control/client.ts';
import { createTools, nameOf, readSettings } from '../device/diagnosis-tools.ts';
import { CHECKS } from '../diagnose/checks.ts';
import { DEFAULT_OPTIONS, type DiagnoseOptions } from '../diagnose/facts.ts';
import { runChecks } from '../diagnose/runner.ts';
import type { ServiceStatus } from '../diagnose/tools.ts';
import { systemClock } from '../support/clock.ts';
import { createLog } from '../support/log.ts';
import { type CommonOptions, configSource, EXIT } from './common.ts';

export interface DiagnoseCommandOptions extends CommonOptions {
  json?: true;
  only?: string;
  sshdConfig?: string;
  sshPort?: string;
  user?: string;
  publicPort?: string;
  dial?: true;
  network: boolean;
  bundle?: string;
  watch?: true;
}

/** `diagnose`: finds out what is the matter with this device. */
export async function diagnose(options: DiagnoseCommandOptions, version: string): Promise<number> {
  const clock = systemClock;
  const log = createLog('silent');
  const settings = await readSettings(configSource(options));
  const { config } = settings;
  const service = async () => (await requestControl(config.runDir, 'GET /status')) as ServiceStatus;
  const chosen: DiagnoseOptions = {
    ...DEFAULT_OPTIONS,
    sshdConfig: options.sshdConfig ?? null,
    sshPort: options.sshPort === undefined ? null : Number(options.sshPort),
    user: options.user ?? null,
    dial: options.dial ? 'always' : 'without-session',
    network: options.network,
  };
  const tools = createTools(config, { service, clock, log });
  const report = await runChecks({
    checks: CHECKS,
    subject: { version, settings, options: chosen, tools, clock },
    device: nameOf(config),
    startedAt: new Date().toISOString(),
    signal: new AbortController().signal,
  });
  process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  return report.ok ? EXIT.ok : EXIT.failed;
}
