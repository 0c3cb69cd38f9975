import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { cleanText } from '../../support/text.ts';
import type { Facts, Probe } from '../facts.ts';

export type InitSystem = 'systemd' | 'openrc' | 'scripts';

/** What starts the services of this machine. */
export const initSystem: Probe<InitSystem> = async () => {
  if (existsSync('/run/systemd/system')) return 'systemd'; // sd_booted(3)
  return existsSync('/run/openrc') ? 'openrc' : 'scripts';
};

const UNIT_FOLDERS = ['/etc/systemd/system', '/run/systemd/system', '/usr/lib/systemd/system', '/lib/systemd/system'];
const SCRIPT_FOLDER = '/etc/init.d';

/** A service of the init system: how it is started, and what the init system says of it. */
export interface InitService {
  readonly start: string;
  readonly restart: string;
  readonly reload: string;
  /** The command that shows what it has logged. */
  readonly log: string;
  /** The command that shows how it is started, and with which rights. */
  readonly show: string;
  /** Null where it is not asked, or says nothing. */
  readonly state: string | null;
}

/**
 * The service with the first of these names that there is, else one whose file holds `mention`; null where there is none.
 * @param names `ssh`, `sshd`: as the distributions call it; scripts of BusyBox may have `S50` in front
 */
export async function findService(
  facts: Facts,
  names: readonly string[],
  mention: string | null = null,
): Promise<InitService | null> {
  const init = await facts.get(initSystem);
  if (init === 'systemd') {
    const files = UNIT_FOLDERS.flatMap((folder) => filesIn(folder, /\.service$/));
    const unit = choose(files, (name) => name.replace(/\.service$/, ''), names, mention)?.name;
    return unit === undefined ? null : systemdService(facts, unit);
  }
  const script = choose(filesIn(SCRIPT_FOLDER, /./), (name) => name.replace(/^S\d\d/, ''), names, mention);
  if (script === undefined) return null;
  const with_ = (verb: string) => (init === 'openrc' ? `rc-service ${script.name} ${verb}` : `${script.path} ${verb}`);
  return {
    start: with_('start'),
    restart: with_('restart'),
    reload: with_('restart'),
    log: 'logread | tail -n 50; tail -n 50 /var/log/messages',
    show: `cat ${script.path}`,
    state: null,
  };
}

interface InitFile {
  readonly name: string;
  readonly path: string;
}

/** By name first: several of our own units mention the program. */
function choose(
  files: readonly InitFile[],
  serviceOf: (name: string) => string,
  names: readonly string[],
  mention: string | null,
): InitFile | undefined {
  const named = names.flatMap((wanted) => files.filter(({ name }) => serviceOf(name) === wanted));
  return named[0] ?? files.find(({ path }) => mention !== null && mentions(path, mention));
}

async function systemdService(facts: Facts, unit: string): Promise<InitService> {
  const properties = ['LoadState', 'ActiveState', 'SubState', 'Result', 'ExecMainStatus', 'UnitFileState'];
  const end = await facts.run('systemctl', ['show', unit, ...properties.flatMap((each) => ['-p', each])], 2_000);
  const said = end.kind === 'ended' && end.exitCode === 0 ? end.stdout : '';
  const state = said === '' ? null : `systemctl show ${unit}: ${cleanText(said.trim().replaceAll('\n', ' '))}`;
  const unmask = said.includes('LoadState=masked') ? `systemctl unmask ${unit}; ` : '';
  return {
    start: `${unmask}systemctl start ${unit}`,
    restart: `systemctl restart ${unit}`,
    reload: `systemctl reload ${unit}`,
    log: `journalctl -u ${unit} -n 50`,
    show: `systemctl cat ${unit}`,
    state,
  };
}

function filesIn(folder: string, pattern: RegExp): InitFile[] {
  try {
    return readdirSync(folder)
      .filter((name) => pattern.test(name))
      .toSorted()
      .map((name) => ({ name, path: join(folder, name) }));
  } catch {
    return [];
  }
}

function mentions(path: string, text: string): boolean {
  try {
    return readFileSync(path, 'latin1').includes(text);
  } catch {
    return false;
  }
}
