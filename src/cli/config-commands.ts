import { lstat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { ConfigError } from '../config/faults.ts';
import { CONFIG_FILE, loadConfig } from '../config/load.ts';
import { configText, initialConfig, showConfig } from '../config/render.ts';
import { makeFolder, replaceFile } from '../support/atomic-file.ts';
import { Failure } from '../support/failures.ts';
import { type CommonOptions, configSource, EXIT } from './common.ts';

/** `config check`: strict, so a broken file is never hidden behind the last good one. */
export async function configCheck(options: CommonOptions & { json?: true }): Promise<number> {
  if (options.json) return configCheckJson(options);
  const loaded = await loadConfig({ ...configSource(options), strict: true });
  for (const notice of loaded.notices) process.stdout.write(`note: ${notice.sentence}\n`);
  process.stdout.write(`The configuration is valid (${loaded.origin}).\n`);
  return EXIT.ok;
}

/** The faults are the answer here, so they stand on standard output; the exit code is the same. */
async function configCheckJson(options: CommonOptions): Promise<number> {
  const print = (answer: unknown) => process.stdout.write(`${JSON.stringify(answer, null, 2)}\n`);
  try {
    const { origin, file, notices } = await loadConfig({ ...configSource(options), strict: true });
    print({ valid: true, origin, file, faults: [], notices });
    return EXIT.ok;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const { faults, remedy } = error;
    print({ valid: false, faults, remedy });
    return EXIT.configuration;
  }
}

/** `config show`: what the service would run with now. */
export async function configShow(options: CommonOptions & { json?: true }): Promise<number> {
  const loaded = await loadConfig(configSource(options));
  const shown = showConfig(loaded);
  process.stdout.write(options.json ? `${JSON.stringify(shown, null, 2)}\n` : `${configText(shown)}\n`);
  return EXIT.ok;
}

/** `config init`: never replaces a file unless told to; 0600, because a token will stand in it. */
export async function configInit(options: CommonOptions & { force?: true }): Promise<number> {
  const path = resolve(options.config ?? CONFIG_FILE);
  if (!options.force && (await lstat(path).catch(() => null)) !== null) {
    throw new Failure('config.exists', `${path} exists already and was left as it is`);
  }
  try {
    await makeFolder(dirname(path), 0o755);
    await replaceFile(path, initialConfig(), { mode: 0o600 });
  } catch (error) {
    throw new Failure('config.unwritable', `cannot write ${path}: ${(error as Error).message}`, { cause: error });
  }
  process.stdout.write(`Wrote ${path}. Edit it, then run: tunnel-agent config check --config ${path}\n`);
  return EXIT.ok;
}
