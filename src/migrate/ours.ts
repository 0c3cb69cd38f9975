import { join } from 'node:path';
import { linkTarget } from '../support/readable.ts';
import { act, command, exists, namesIn, readText } from './machine.ts';
import type { Entry, InitSystem, OurService } from './model.ts';
import { scriptEntry } from './scripts.ts';
import { unitEntry, unitStates } from './systemd.ts';

// Our own services, as the init system knows them.

const PROGRAM = 'tunnel-agent';
const UNIT_FOLDERS = ['/etc/systemd/system', '/run/systemd/system', '/usr/lib/systemd/system', '/lib/systemd/system'];
const SCRIPTS = '/etc/init.d';
const RC_LEVELS = [2, 3, 4, 5].map((level) => `/etc/rc${level}.d`);
const START_MS = 120_000;

/** The service `zeroforce`, installed, enabled, and what of that name is not ours. */
export async function ourService(init: InitSystem | null): Promise<OurService> {
  const path = init === null ? null : placeOf(init, 'zeroforce');
  if (path === null) return { installed: false, enabled: false, running: false, shadowedBy: null };
  const text = readText(path) ?? '';
  const shadowedBy = text.includes(PROGRAM) ? null : path;
  const state = init === 'systemd' ? (await unitStates(['zeroforce.service'])).get('zeroforce.service') : undefined;
  return { installed: true, enabled: isEnabled(init, path), running: state?.active ?? false, shadowedBy };
}

/** Our sshd on the port of the paired tunnel, where it is installed. */
export async function ourSshd(init: InitSystem | null): Promise<Entry | null> {
  const path = init === null ? null : placeOf(init, 'zeroforce-sshd');
  if (path === null || init === null) return null;
  const unit = 'zeroforce-sshd.service';
  const unknown = { active: false, fragment: '', triggeredBy: [] };
  const entry =
    init === 'systemd'
      ? unitEntry(unit, (await unitStates([unit])).get(unit) ?? unknown)
      : scriptEntry(init, path.slice(SCRIPTS.length + 1), readText(path) ?? '');
  return { ...entry, parts: [{ role: 'sshd', program: path }], others: [] };
}

/** Starts our service at every boot from now on, or no more. Done twice it is done once. @throws what the init system says */
export async function enableOurs(init: InitSystem, on: boolean): Promise<void> {
  if (init === 'systemd') return run(['systemctl', on ? 'enable' : 'disable', 'zeroforce.service']);
  const path = placeOf(init, 'zeroforce') ?? join(SCRIPTS, 'zeroforce');
  if (isEnabled(init, path) === on) return;
  if (init === 'openrc') {
    return run(on ? ['rc-update', 'add', 'zeroforce', 'default'] : ['rc-update', '--all', 'del', 'zeroforce']);
  }
  const name = path.slice(SCRIPTS.length + 1);
  if (name === 'zeroforce') return linkRunlevels(on);
  return run(['mv', '-f', path, join(SCRIPTS, name.replace(/^[SK]/, on ? 'S' : 'K'))]);
}

/** System V: in the runlevels in which services run, where there are folders for them. */
async function linkRunlevels(on: boolean): Promise<void> {
  for (const level of RC_LEVELS.filter((folder) => exists(folder))) {
    const link = join(level, 'S70zeroforce');
    await run(on ? ['ln', '-sfn', '../init.d/zeroforce', link] : ['rm', '-f', link]);
  }
}

/** Waits until it runs, or has stopped, as far as the init system tells. @throws what the init system says */
export async function startOurs(init: InitSystem, on: boolean): Promise<void> {
  const verb = on ? 'start' : 'stop';
  if (init === 'systemd') {
    // It may have failed in vain so far.
    if (on) await command(['systemctl', 'reset-failed', 'zeroforce.service']);
    return run(['systemctl', verb, 'zeroforce.service']);
  }
  const path = placeOf(init, 'zeroforce');
  if (path === null) throw new Error('there is no init script of the service zeroforce any more');
  return run(init === 'openrc' ? ['rc-service', 'zeroforce', verb] : ['sh', path, verb]);
}

async function run(argv: readonly string[]): Promise<void> {
  const code = await act(argv, START_MS);
  if (code !== 0) throw new Error(`${argv.join(' ')} ${code === null ? 'did not end in time' : `ended with ${code}`}`);
}

/** The unit or script of one of our services; null where it is not installed. */
function placeOf(init: InitSystem, name: string): string | null {
  if (init === 'systemd') {
    const paths = UNIT_FOLDERS.map((folder) => join(folder, `${name}.service`));
    return paths.find((path) => readText(path) !== null && linkTarget(path) !== '/dev/null') ?? null;
  }
  const pattern = init === 'openrc' ? new RegExp(`^${name}$`) : new RegExp(`^(?:[SK]\\d\\d)?${name}$`);
  const found = namesIn(SCRIPTS).find((each) => pattern.test(each));
  return found === undefined ? null : join(SCRIPTS, found);
}

function isEnabled(init: InitSystem | null, path: string): boolean {
  if (init === 'systemd') {
    const wants = namesIn('/etc/systemd/system').filter((name) => /\.(?:wants|requires)$/.test(name));
    return wants.some((folder) => linkTarget(join('/etc/systemd/system', folder, 'zeroforce.service')) !== null);
  }
  if (init === 'openrc') {
    return namesIn('/etc/runlevels').some((level) => linkTarget(join('/etc/runlevels', level, 'zeroforce')) !== null);
  }
  if (path === join(SCRIPTS, 'zeroforce')) {
    return RC_LEVELS.some((level) => namesIn(level).some((name) => /^S\d\dzeroforce$/.test(name)));
  }
  return /\/S\d\d[^/]*$/.test(path);
}
