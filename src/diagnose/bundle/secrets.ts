import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DEPLOYED_FILES } from '../../config/deployed.ts';
import { CONFIG_FILE, type LoadOptions, lastGoodPath } from '../../config/load.ts';
import type { Config } from '../../config/types.ts';
import { readSmallFile } from '../../support/small-file.ts';
import type { Facts } from '../facts.ts';
import { serviceProcesses } from '../probes/service-processes.ts';
import { programs } from '../probes/sockets.ts';
import { isSecret, namedSecrets, secretFilesNamed, secretsInJson } from './secret-names.ts';

const MAX_FILE_BYTES = 64 * 1024;
const MAX_FILES_A_FOLDER = 64;
const MAX_SECRET_CHARACTERS = 4096;
/** Of programs that are not ours: a short one is more likely a switch than a secret. */
const MIN_FOREIGN_CHARACTERS = 6;
/** Any user can call any number of words secrets, and each is looked for in all texts. */
const MAX_FOREIGN = 400;

/** Folders with files about how the service is started, among those of others. */
const START_FOLDERS = ['/etc/default', '/etc/conf.d', '/etc/init.d', '/etc/systemd/system', '/etc/profile.d'];
const OURS = /zeroforce|tunnel-agent|meeting|beamer/i;
/** A file that is a secret, whatever stands in it. */
const SECRET_FILE = /(?:token|secret|password|passphrase)(?:\.[a-z]+)?$/i;

/**
 * Every secret that can be found on this machine, for nothing but to be taken out of what is written: those of the
 * configuration, of every file that the service or the software before it has one in, and of the environments of all
 * programs. What this user may not read it does not know; but it can put nothing of that into a bundle either.
 */
export async function knownSecrets(facts: Facts, source: LoadOptions): Promise<string[]> {
  const { config } = facts;
  const files = await filesWithSecrets(facts, source);
  const environments = [source.env, ...(await environmentsOfAll(facts))];
  const texts = files.map(({ text }) => text);
  const named = [
    ...texts.flatMap(secretFilesNamed),
    ...environments
      .flatMap((each) => Object.entries(each).map(([name, value]) => `${name}=${value}`))
      .flatMap(secretFilesNamed),
  ];
  const own = [
    ...tokensOf(config),
    ...environments.map(variablesOfOurs).flatMap(secretsIn),
    ...texts.flatMap(secretsInText),
    ...files.filter(({ path }) => SECRET_FILE.test(path)).flatMap(({ text }) => wholeAndLines(text)),
    ...(await Promise.all([...new Set(named)].map(textOf))).flatMap(wholeAndLines),
  ];
  const given = (await facts.get(programs)).flatMap(({ words }) => namedSecrets(words.join(' ')));
  const foreign = [...new Set([...environments.flatMap(secretsIn), ...given])]
    .filter(({ length }) => length >= MIN_FOREIGN_CHARACTERS)
    .slice(0, MAX_FOREIGN);
  return [...new Set([...own, ...foreign])].filter(({ length }) => length > 0 && length <= MAX_SECRET_CHARACTERS);
}

function tokensOf({ meeting, ssh, meetingApi }: Config): string[] {
  return [meeting, ssh, meetingApi].flatMap((part) => (part === null ? [] : [part.token.reveal()]));
}

function variablesOfOurs(environment: LoadOptions['env']): LoadOptions['env'] {
  return Object.fromEntries(
    Object.entries(environment).filter(([name]) => /^(?:MEETING|ZEROFORCE|GATEWAY)_/.test(name)),
  );
}

function secretsIn(environment: LoadOptions['env']): string[] {
  return Object.entries(environment).flatMap(([name, value]) =>
    value !== undefined && isSecret(name, value) ? [value] : [],
  );
}

function secretsInText(text: string): string[] {
  try {
    return secretsInJson(JSON.parse(text.replace(/^\ufeff/, '')));
  } catch {
    // The user of the ssh transport is its token (wire 5).
    return [...namedSecrets(text), ...[...text.matchAll(/^\s*User\s+(\S{16,})\s*$/gim)].map(([, user = '']) => user)];
  }
}

/** A token has one line; a file with more than that may hold one in each. */
function wholeAndLines(text: string): string[] {
  const lines = text.split('\n').map((line) => line.trim());
  return [text.trim(), ...lines].filter((line) => line.length >= MIN_FOREIGN_CHARACTERS || lines.length <= 2);
}

async function filesWithSecrets(facts: Facts, source: LoadOptions): Promise<{ path: string; text: string }[]> {
  const { runDir, stateDir } = facts.config;
  const { configFile = CONFIG_FILE, deployedFiles = DEPLOYED_FILES } = source;
  const services = await facts.get(serviceProcesses);
  const single = [
    ...[configFile, lastGoodPath(stateDir), ...services.map(({ places }) => places.config)],
    ...[deployedFiles, DEPLOYED_FILES].flatMap(({ meeting, deviceInfo }) => [...meeting, deviceInfo]),
  ].filter((path) => path !== null);
  const own = await Promise.all(['/etc/zeroforce', stateDir, runDir, join(runDir, 'ssh')].map((each) => filesIn(each)));
  const start = await Promise.all(START_FOLDERS.map(startFiles));
  const paths = [...new Set([...single, ...own.flat(), ...start.flat()])];
  const all = await Promise.all(paths.map(async (path) => ({ path, text: await textOf(path) })));
  return all.filter(({ text }) => text !== '');
}

/** Files of ours in a folder of many, and those in folders of ours there: `zeroforce.service.d`. */
async function startFiles(folder: string): Promise<string[]> {
  const found = (await filesIn(folder)).filter((path) => OURS.test(path.slice(folder.length)));
  const inside = await Promise.all(found.filter((path) => path.endsWith('.d')).map((path) => filesIn(path)));
  return [...found, ...inside.flat()];
}

async function filesIn(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => []);
  return names
    .toSorted((a, b) => Number(OURS.test(b)) - Number(OURS.test(a)))
    .slice(0, MAX_FILES_A_FOLDER)
    .map((name) => join(folder, name));
}

/** Empty for what is no small file, or cannot be read. */
async function textOf(path: string): Promise<string> {
  try {
    return (await readSmallFile(path, MAX_FILE_BYTES)).bytes.toString('utf8');
  } catch {
    return '';
  }
}

async function environmentsOfAll(facts: Facts): Promise<LoadOptions['env'][]> {
  const all = await facts.get(programs);
  return Promise.all(
    all.map(async ({ pid }) => {
      const text = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '');
      const entries = text.split('\0').map((entry) => /^([^=]+)=([\s\S]*)$/.exec(entry));
      return Object.fromEntries(entries.flatMap((entry) => (entry === null ? [] : [[entry[1], entry[2]]])));
    }),
  );
}
