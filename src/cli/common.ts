import type { LoadOptions } from '../config/load.ts';
import type { Failure, FailureCode } from '../support/failures.ts';

/**
 * The exit codes of every command; documented in docs/cli.md, those of `pair` alone in docs/pair-client.md. 78 is
 * EX_CONFIG of sysexits.h: supervisors do not retry it.
 */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  notFound: 3,
  several: 4,
  pin: 5,
  notTheDevice: 6,
  keyRefused: 7,
  portTaken: 8,
  configuration: 78,
} as const;

const EXIT_OF: Partial<Record<FailureCode, number>> = {
  'pair.target': EXIT.usage,
  'pair.forward': EXIT.usage,
  'pair.not-found': EXIT.notFound,
  'pair.no-answer': EXIT.notFound,
  'pair.several': EXIT.several,
  'pair.pin-needed': EXIT.pin,
  'pair.pin-wrong': EXIT.pin,
  'pair.host-key': EXIT.notTheDevice,
  'pair.impostor': EXIT.notTheDevice,
  'pair.key-rejected': EXIT.keyRefused,
  'pair.key-refused': EXIT.keyRefused,
  'pair.port-taken': EXIT.portTaken,
};

export function exitCodeOf({ code }: Failure): number {
  return EXIT_OF[code] ?? EXIT.failed;
}

/** The options that every command shares. */
export interface CommonOptions {
  config?: string;
}

/** Where the settings come from. A file that was asked for by name must be there; the default one may be absent. */
export function configSource({ config }: CommonOptions): LoadOptions {
  return { env: process.env, ...(config === undefined ? {} : { configFile: config, mustExist: true }) };
}
