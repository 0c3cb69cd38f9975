import type { Notice } from '../config/resolve.ts';
import type { Config } from '../config/types.ts';
import { CHECKS } from '../diagnose/checks.ts';
import { DEFAULT_OPTIONS, type Settings } from '../diagnose/facts.ts';
import type { Report } from '../diagnose/report.ts';
import { runChecks } from '../diagnose/runner.ts';
import type { Tools } from '../diagnose/tools.ts';
import type { Clock } from '../support/clock.ts';
import { Failure, type FailureCode } from '../support/failures.ts';
import type { Log } from '../support/log.ts';
import { createTools, nameOf } from './diagnosis-tools.ts';
import type { DeviceStatus } from './status.ts';

// The checks of `diagnose`, made by the service itself. Loaded when they are made first (device.ts): an idle device has
// no use for them.

export interface ExaminationOptions {
  config: Config;
  notices: readonly Notice[];
  source: ConfigSource;
  version: string;
  status: () => Promise<DeviceStatus>;
  clock: Clock;
  log: Log;
}

/** Where the configuration was looked for, and what was found there. */
export type ConfigSource = Pick<Settings, 'file' | 'origin'>;

export function examine(options: ExaminationOptions, signal: AbortSignal): Promise<Report> {
  const { config, version, status, clock, log } = options;
  const tools = createTools(config, { service: status, clock, log });
  return runChecks({
    checks: CHECKS,
    subject: {
      version,
      settings: settingsOf(options),
      // With the network: to look up a name and to be refused costs nobody anything. What would count elsewhere is left out.
      options: { ...DEFAULT_OPTIONS, dial: 'never' },
      tools: { ...tools, tunnel: withoutDial(tools.tunnel), api: asLastHeard(tools.api, status) },
      clock,
    },
    device: nameOf(config),
    startedAt: new Date().toISOString(),
    signal,
  });
}

/** A service that runs with another configuration than it was given says so in its notices. */
function settingsOf({ config, notices, source }: ExaminationOptions): Settings {
  const ofFile = sentencesOf(notices, 'config.last-good', 'config.refused');
  const ofIdentity = sentencesOf(notices, 'identity.token-file');
  const faults = [...ofFile, ...ofIdentity];
  return {
    ...source,
    config,
    faults: ofFile,
    // A service with half an identity would not have started.
    identity: { faults: ofIdentity, set: [], missing: [] },
    notices: notices.filter(({ sentence }) => !faults.includes(sentence)),
  };
}

function sentencesOf(notices: readonly Notice[], ...codes: FailureCode[]): string[] {
  return notices.filter(({ code }) => codes.includes(code)).map(({ sentence }) => sentence);
}

/** A second session with our identity would end the one that we have, or are about to have. */
function withoutDial(tunnel: Tools['tunnel']): Tools['tunnel'] {
  if (tunnel === null) return null;
  return { ...tunnel, dial: () => Promise.reject(new Failure('internal.unexpected', 'the service dials by itself')) };
}

/** The Meeting client asks often enough: its answers are taken. */
function asLastHeard(api: Tools['api'], status: () => Promise<DeviceStatus>): Tools['api'] {
  if (api === null) return null;
  const heard = async () => {
    const { meetingApi } = await status();
    if (meetingApi === null) throw new Failure('meeting.api-unreachable', 'the service does not ask the Meeting API');
    const { state, lastFailure } = meetingApi;
    const answered = state !== 'failing' && meetingApi.authorized !== null;
    if (!answered && lastFailure !== null) throw new Failure(lastFailure.code, lastFailure.sentence);
    return meetingApi;
  };
  return {
    ...api,
    async device() {
      const { authorized, services } = await heard();
      if (authorized === null) throw new Failure('meeting.api-timeout', 'the Meeting API has not been asked yet');
      return { authorized, services };
    },
    availability: async () => (await heard()).availability ?? 'unknown',
  };
}
