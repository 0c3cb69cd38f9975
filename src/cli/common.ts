import type { LoadOptions } from '../config/load.ts';
import type { Failure, FailureCode } from '../support/failures.ts';

/**
 * The exit codes of every command; documented in docs/cli.md. 78 is EX_CONFIG of sysexits.h: supervisors do not retry
 * it, since only a person can put right what is wrong.
 */
export const EXIT = { ok: 0, failed: 1, usage: 2, configuration: 78 } as const;

/** Those of `pair` besides, which a supervisor acts on; documented in docs/pair-client.md. */
export const PAIR_EXIT = { notFound: 3, several: 4, pin: 5, notTheDevice: 6, keyRefused: 7, portTaken: 8 } as const;

const EXIT_OF: Partial<Record<FailureCode, number>> = {
  'pair.target': EXIT.usage,
  'pair.forward': EXIT.usage,
  'pair.not-found': PAIR_EXIT.notFound,
  'pair.no-answer': PAIR_EXIT.notFound,
  'pair.several': PAIR_EXIT.several,
  'pair.pin-needed': PAIR_EXIT.pin,
  'pair.pin-wrong': PAIR_EXIT.pin,
  'pair.host-key': PAIR_EXIT.notTheDevice,
  'pair.impostor': PAIR_EXIT.notTheDevice,
  'pair.key-rejected': PAIR_EXIT.keyRefused,
  'pair.key-refused': PAIR_EXIT.keyRefused,
  'pair.port-taken': PAIR_EXIT.portTaken,
  'gateway.store-corrupt': EXIT.configuration,
  'gateway.store-missing': EXIT.configuration,
  'gateway.store-newer': EXIT.configuration,
  'gateway.secret-key-unusable': EXIT.configuration,
  'gateway.host-key-unusable': EXIT.configuration,
  'gateway.admin-token-unusable': EXIT.configuration,
  'gateway.certificate-unusable': EXIT.configuration,
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
