/** The exit codes of every command; documented in docs/cli.md. 78 is EX_CONFIG of sysexits.h: supervisors do not retry it. */
export const EXIT = { ok: 0, failed: 1, usage: 2, configuration: 78 } as const;

export const DEFAULT_CONFIG_FILE = '/etc/zeroforce/config.json';

/** The options that every command shares. */
export interface CommonOptions {
  config: string;
}
