import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { readSmallFile } from '../../support/small-file.ts';
import { cleanText } from '../../support/text.ts';
import type { Facts, Probe } from '../facts.ts';
import { type InitSystem, startsService } from '../init-words.ts';

/** systemd.unit(5), the strongest first. */
const UNIT_FOLDERS = [
  '/etc/systemd/system',
  '/run/systemd/system',
  '/usr/local/lib/systemd/system',
  '/usr/lib/systemd/system',
  '/lib/systemd/system',
];
const SCRIPT_FOLDER = '/etc/init.d';
const MAX_SCRIPT_BYTES = 64 * 1024;
/** It is only evidence. */
const ASK_MS = 2_000;

/** What starts the service on this machine. */
export const initSystem: Probe<InitSystem> = async () => {
  if (existsSync('/run/systemd/system')) return { kind: 'systemd', service: await findIn(UNIT_FOLDERS, /\.service$/) };
  if (existsSync('/run/openrc/softlevel')) return { kind: 'openrc', service: await findIn([SCRIPT_FOLDER], /./) };
  const script = await findIn([SCRIPT_FOLDER], /./);
  return script === null ? { kind: 'none', service: null } : { kind: 'script', service: join(SCRIPT_FOLDER, script) };
};

/** What the init system says of the service, a line; null where there is none to ask. */
export async function askInitSystem(facts: Facts): Promise<string | null> {
  const { kind, service } = await facts.get(initSystem);
  if (service === null) return kind === 'none' ? null : `no service of ${kind} starts tunnel-agent`;
  if (kind === 'script') return `${service} starts it`;
  const [command, args] =
    kind === 'systemd'
      ? ['systemctl', ['show', '-p', 'ActiveState,SubState,Result,ExecMainStatus', service]]
      : ['rc-service', [service, 'status']];
  const end = await facts.run(command, args, ASK_MS);
  const words = end.kind === 'ended' ? cleanText(`${end.stdout} ${end.stderr}`) : end.kind;
  return `${command} ${args.join(' ')}: ${words}`;
}

async function findIn(folders: readonly string[], names: RegExp): Promise<string | null> {
  for (const folder of folders) {
    const found = await readdir(folder).catch(() => []);
    for (const name of found.filter((each) => names.test(each)).sort()) {
      const text = await readSmallFile(join(folder, name), MAX_SCRIPT_BYTES).catch(() => null);
      if (text !== null && startsService(text.bytes.toString('latin1'))) return name;
    }
  }
  return null;
}
