import type { LoadOptions } from '../config/load.ts';

/** The exit codes of every command; documented in docs/cli.md. 78 is EX_CONFIG of sysexits.h: supervisors do not retry it. */
export const EXIT = { ok: 0, failed: 1, usage: 2, configuration: 78 } as const;

/** The options that every command shares. */
export interface CommonOptions {
  config?: string;
}

/** Where the settings come from. A file that was asked for by name must be there; the default one may be absent. */
export function configSource({ config }: CommonOptions): LoadOptions {
  return { env: process.env, ...(config === undefined ? {} : { configFile: config, mustExist: true }) };
}
