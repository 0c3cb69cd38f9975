import { join } from 'node:path';
import { makeFolder, replaceFile } from '../support/atomic-file.ts';
import { Failure, systemCode } from '../support/failures.ts';
import { caNotices } from './ca-file.ts';
import { DEPLOYED_FILES, type DeployedFiles, readDeployed } from './deployed.ts';
import { ConfigError, ENVIRONMENT, type Fault, faultLine } from './faults.ts';
import { readText } from './files.ts';
import { parseJson } from './json-text.ts';
import { type Environment, type Layer, type Origin, readEnvironment, readFile, unknownVariables } from './layers.ts';
import { OPTION_KEYS, OPTIONS, type Values } from './options.ts';
import {
  combine,
  crossFaults,
  type Notice,
  noticesOf,
  type Setting,
  settingsOf,
  settleTokens,
  TOKENS,
  toConfig,
  unknownNotices,
  valuesOf,
} from './resolve.ts';
import { Secret } from './secret.ts';
import { readTokenFiles } from './token-file.ts';
import type { Config } from './types.ts';

export const CONFIG_FILE = '/etc/zeroforce/config.json';

/** Far above any real configuration, and little enough for a device. */
const CONFIG_LIMIT_BYTES = 64 * 1024;

export interface LoadOptions {
  readonly env: Environment;
  /** Path of the configuration file; `CONFIG_FILE` by default. It may be absent, unless `mustExist`. */
  readonly configFile?: string;
  /** For a path that somebody typed: there a missing file is a broken one. */
  readonly mustExist?: boolean;
  /** Read where the configuration file is absent. */
  readonly deployedFiles?: DeployedFiles;
  /** Never falls back to the last configuration that worked: for `config check`. */
  readonly strict?: boolean;
}

export interface LoadedConfig {
  readonly config: Config;
  /** The same in the units of the file, for `planReload`. With the secrets. */
  readonly values: Secret<Values>;
  /** What the values below the environment come from. */
  readonly origin: 'file' | 'last-good' | 'deployed' | 'defaults';
  /** The configuration file that was looked for. */
  readonly file: string;
  /** Every option with its value, fit to be shown, and where the value comes from. */
  readonly settings: readonly Setting[];
  readonly notices: readonly Notice[];
  /** Content of the configuration file where it was used; kept by `rememberGoodConfig`. */
  readonly fileText: Secret | null;
}

/**
 * Reads the configuration: defaults, then the file (or what deployed software left, where there is none), then the
 * environment. A file that is broken is replaced by the last one that worked, since a device that does not start
 * cannot be reached; a wrong variable is never passed over.
 *
 * @throws ConfigError with every fault
 */
export async function loadConfig(options: LoadOptions): Promise<LoadedConfig> {
  const { env, configFile = CONFIG_FILE, mustExist = false, deployedFiles = DEPLOYED_FILES, strict = false } = options;
  const environment = readEnvironment(env);
  const file = (await readConfigFile(configFile, 'file')) ?? (mustExist ? missing(configFile) : null);
  if (file === null) {
    const deployed = await readDeployed(deployedFiles);
    const assembled = await assemble([...deployed.layers, environment]);
    if (assembled.faults.length > 0) throw new ConfigError(assembled.faults);
    const origin = deployed.layers.some(({ found }) => found.size > 0) ? 'deployed' : 'defaults';
    return finish({ ...assembled, origin, env, configFile, notices: [...deployed.notices, ...assembled.notices] });
  }

  const assembled = await assemble([file.layer, environment]);
  if (assembled.faults.length === 0) {
    const notices = [...exposed(configFile, file), ...assembled.notices];
    return finish({ ...assembled, origin: 'file', env, configFile, notices, fileText: new Secret(file.text) });
  }
  if (strict || assembled.faults.some(({ source }) => source === ENVIRONMENT)) throw new ConfigError(assembled.faults);
  return loadLastGood({ env, configFile, environment, file, faults: assembled.faults });
}

/** Every fault that a configuration file with this content would have, each in a line; empty where it would be right. */
export async function faultsOfText(text: string, path: string): Promise<string[]> {
  const { layer } = parsed(text, 0o600, 'file', path);
  return (await assemble([layer])).faults.map(faultLine);
}

/**
 * Keeps the configuration file as the one that worked, once the service runs with it. Nothing is written when it is
 * kept already: flash memory wears. Variables are not kept.
 *
 * @throws Failure `state.unwritable`
 */
export async function rememberGoodConfig({ config, fileText }: LoadedConfig): Promise<void> {
  if (fileText === null) return;
  const path = lastGoodPath(config.stateDir);
  const kept = await readText(path, CONFIG_LIMIT_BYTES);
  if (kept.state === 'read' && kept.text === fileText.reveal() && kept.mode === 0o600) return;
  try {
    await makeFolder(config.stateDir);
    await replaceFile(path, fileText.reveal(), { mode: 0o600 });
  } catch (error) {
    const why = systemCode(error) ?? String(error);
    throw new Failure('state.unwritable', `The configuration that works could not be kept in ${path}: ${why}`, {
      cause: error,
    });
  }
}

export function lastGoodPath(stateDir: string): string {
  return join(stateDir, 'config.last-good.json');
}

interface ConfigFile {
  readonly layer: Layer;
  readonly text: string;
  readonly mode: number;
}

async function readConfigFile(path: string, origin: Origin): Promise<ConfigFile | null> {
  const file = await readText(path, CONFIG_LIMIT_BYTES);
  if (file.state === 'absent') return null;
  if (file.state === 'unusable') return { layer: unreadable(path, '(whole file)', file.expected), text: '', mode: 0 };
  return parsed(file.text, file.mode, origin, path);
}

function parsed(text: string, mode: number, origin: Origin, path: string): ConfigFile {
  const json = parseJson(text);
  if ('value' in json) return { layer: readFile(json.value, origin, path), text, mode };
  const { line, column, expected } = json.fault;
  return { layer: unreadable(path, `line ${line}, column ${column}`, `valid JSON, here ${expected}`), text, mode };
}

function missing(path: string): ConfigFile {
  return { layer: unreadable(path, '(whole file)', 'a file that exists'), text: '', mode: 0 };
}

/** Nothing is known of any option, so none takes part in a further check. */
function unreadable(source: string, key: string, allowed: string): Layer {
  return { found: new Map(), refused: new Set(OPTION_KEYS), faults: [{ key, value: null, allowed, source }] };
}

interface Assembled {
  readonly layer: Layer;
  readonly faults: readonly Fault[];
  /** Nothing is wrong but the file of the token; then the layer is good for a device without a tunnel. */
  readonly onlyTokenFile: boolean;
  readonly notices: readonly Notice[];
}

async function assemble(layers: readonly Layer[]): Promise<Assembled> {
  const settled = settleTokens(combine(layers));
  const token = await readTokenFiles(settled);
  const layer = combine([settled, token.layer]);
  const faults = [...layer.faults, ...crossFaults(layer)];
  const onlyTokenFile = faults.length > 0 && faults.length === token.layer.faults.length;
  return { layer, faults, onlyTokenFile, notices: token.notices };
}

interface BrokenFile {
  readonly env: Environment;
  readonly configFile: string;
  readonly environment: Layer;
  readonly file: ConfigFile;
  readonly faults: readonly Fault[];
}

async function loadLastGood({ env, configFile, environment, file, faults }: BrokenFile): Promise<LoadedConfig> {
  const all = [...faults];
  for (const stateDir of stateDirs(environment, file)) {
    const path = lastGoodPath(stateDir);
    const kept = await readConfigFile(path, 'last-good');
    if (kept === null) continue;
    const assembled = await assemble([kept.layer, environment]);
    if (assembled.faults.length === 0 || assembled.onlyTokenFile) {
      const sentence = `${configFile} is broken; the configuration that last worked runs instead (${path}). ${faults.map(faultLine).join(' | ')}`;
      const notices: Notice[] = [
        { code: 'config.last-good', sentence },
        ...withoutToken(assembled),
        ...assembled.notices,
      ];
      return finish({ ...assembled, origin: 'last-good', env, configFile, notices });
    }
    all.push(...assembled.faults);
  }
  throw new ConfigError(all);
}

/** A file of the token that was lost costs the tunnel, and not the pairing too: by that the device can be reached. */
function withoutToken({ faults }: Assembled): Notice[] {
  return faults.map((fault) => {
    const sentence = `There is no tunnel, and pairing runs alone: the file of the token cannot be used. ${faultLine(fault)}`;
    return { code: 'identity.token-file', sentence };
  });
}

/** Where the last good configuration may be: only the broken file itself may know that the folder was moved. */
function stateDirs(environment: Layer, file: ConfigFile): string[] {
  const fromEnvironment = environment.found.get('stateDir')?.value;
  if (fromEnvironment !== undefined) return [String(fromEnvironment)];
  const fromFile =
    file.layer.found.get('stateDir')?.value ??
    /"(?:stateDir|ZEROFORCE_STATE_DIR)"\s*:\s*"(\/[^"\\\u0000-\u001f]{0,1023})"/.exec(file.text)?.[1];
  return [...new Set([String(fromFile ?? OPTIONS.stateDir.default), OPTIONS.stateDir.default])];
}

/** A token in a file that anybody can read, or others than its owner change. That its group reads it is a decision. */
function exposed(path: string, { layer, mode }: ConfigFile): Notice[] {
  if (!TOKENS.some(({ token }) => layer.found.has(token)) || (mode & 0o026) === 0) return [];
  const sentence = `${path} holds the token, and everybody can read it, or others than its owner change it`;
  return [{ code: 'config.exposed', sentence }];
}

interface Finished extends Assembled {
  readonly origin: LoadedConfig['origin'];
  readonly env: Environment;
  readonly configFile: string;
  readonly fileText?: Secret;
}

async function finish({ layer, origin, env, configFile, notices, fileText }: Finished): Promise<LoadedConfig> {
  const values = valuesOf(layer);
  const config = toConfig(values);
  return {
    config,
    values: new Secret(values),
    origin,
    file: configFile,
    settings: settingsOf(layer),
    notices: [...notices, ...unknownNotices(unknownVariables(env)), ...noticesOf(config), ...(await caNotices(layer))],
    fileText: fileText ?? null,
  };
}
