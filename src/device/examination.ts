import { CHECKS } from '../diagnose/checks.ts';
import { DEFAULT_OPTIONS, type Settings } from '../diagnose/facts.ts';
import type { Report } from '../diagnose/report.ts';
import { runChecks } from '../diagnose/runner.ts';
import type { Tools } from '../diagnose/tools.ts';
import type { MeetingStatus } from '../meeting/client.ts';
import type { Clock } from '../support/clock.ts';
import { Failure } from '../support/failures.ts';
import type { Log } from '../support/log.ts';
import { createTools, nameOf } from './diagnosis-tools.ts';
import type { DeviceStatus } from './status.ts';

export interface ExaminationOptions {
  settings: Settings;
  /** Of the service, as it was when the examination began. */
  status: DeviceStatus;
  version: string;
  /** ISO 8601. */
  startedAt: string;
  clock: Clock;
  log: Log;
}

/**
 * The checks of `diagnose` as the service makes them by itself. It asks nobody who counts attempts: nothing is dialled as
 * this device, and the Meeting API has said what its client heard last. To look up a name, or to look for devices in the
 * home network, costs nobody anything.
 */
export function examine(options: ExaminationOptions, signal: AbortSignal): Promise<Report> {
  const { settings, status, version, startedAt, clock, log } = options;
  const tools = createTools(settings.config, { service: () => Promise.resolve(status), clock, log });
  return runChecks({
    checks: CHECKS,
    subject: {
      ...{ version, settings, clock },
      options: { ...DEFAULT_OPTIONS, dial: 'never' },
      tools: { ...tools, tunnel: withoutDial(tools.tunnel), api: asLastHeard(tools.api, status.meetingApi) },
    },
    device: nameOf(settings.config),
    startedAt,
    signal,
  });
}

/** A second session with our identity would end the one that we have, or are about to have. */
function withoutDial(tunnel: Tools['tunnel']): Tools['tunnel'] {
  if (tunnel === null) return null;
  return { ...tunnel, dial: () => Promise.reject(new Failure('internal.unexpected', 'the service dials by itself')) };
}

/** Null, as if none were configured, while nobody has heard of it: that is no failure. */
function asLastHeard(api: Tools['api'], heard: MeetingStatus | null): Tools['api'] {
  if (api === null || heard === null) return null;
  const { state, lastFailure, authorized, services, availability } = heard;
  const isHeard = state !== 'failing' && authorized !== null;
  if (!isHeard && lastFailure === null) return null;
  const orFailure = <T>(answer: T): Promise<T> =>
    isHeard || lastFailure === null
      ? Promise.resolve(answer)
      : Promise.reject(new Failure(lastFailure.code, lastFailure.sentence));
  return {
    ...api,
    device: () => orFailure({ authorized: authorized === true, services }),
    availability: () => orFailure(availability ?? 'unknown'),
    // Only a call of its own would tell; its client has named the device as the one that is not known.
    isServed: () => Promise.resolve(true),
  };
}
