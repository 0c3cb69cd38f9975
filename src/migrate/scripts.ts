import { basename, join } from 'node:path';
import { linkTarget } from '../support/readable.ts';
import { startsOf } from './entries.ts';
import { exists, namesIn, readText, statOf } from './machine.ts';
import type { Change, Entry, InitSystem } from './model.ts';

const SCRIPTS = '/etc/init.d';
const RUNLEVELS = '/etc/runlevels';
/** The runlevels of System V in which services run. */
const RC_FOLDERS = ['rcS.d', 'rc2.d', 'rc3.d', 'rc4.d', 'rc5.d'].map((name) => join('/etc', name));

/** The init scripts that start something of the deployed software. Whether it runs, its processes tell. */
export function scriptEntries(init: InitSystem): Entry[] {
  const names = namesIn(SCRIPTS).filter((name) => !name.startsWith('.'));
  const found = names.flatMap((name) => {
    const text = readText(join(SCRIPTS, name)) ?? '';
    const starts = startsOf(text);
    if (starts.parts.length === 0) return [];
    return [{ ...starts, ...scriptEntry(init, name, text) }];
  });
  return [...found, ...(init === 'openrc' ? localStarts() : [])];
}

/** How an init script is stopped, kept from the next boot, and brought back. */
export function scriptEntry(init: InitSystem, name: string, text: string): Omit<Entry, 'parts' | 'others'> {
  const path = join(SCRIPTS, name);
  if (init === 'openrc' && /^#!.*openrc-run/.test(text)) return openrcEntry(name);
  const numbered = /^S\d\d/.test(name) && init !== 'systemd';
  const renames = numbered ? [toKill(path)] : RC_FOLDERS.flatMap((folder) => linksOf(folder, name)).map(toKill);
  const taken = renames.find(({ to }) => exists(to) || linkTarget(to) !== null);
  const unit = `${name}.service`;
  // The script itself may be under its other name when it is to be stopped.
  const at = numbered ? { stop: toKill(path).to, start: path } : { stop: path, start: path };
  return {
    kind: 'script',
    name: path,
    enabled: renames.length > 0,
    running: false,
    disable: renames.map((each): Change => ({ change: 'rename', ...each })),
    obstacle: taken === undefined ? null : `${taken.to} is there already`,
    stop: init === 'systemd' ? [['systemctl', 'stop', unit]] : [['sh', at.stop, 'stop']],
    start: init === 'systemd' ? [['systemctl', 'start', unit]] : [['sh', at.start, 'start']],
  };
}

function openrcEntry(name: string): Omit<Entry, 'parts' | 'others'> {
  const links = namesIn(RUNLEVELS).flatMap((level): Change[] => {
    const path = join(RUNLEVELS, level, name);
    const target = linkTarget(path);
    return target === null ? [] : [{ change: 'unlink', path, target }];
  });
  return {
    kind: 'openrc',
    name,
    enabled: links.length > 0,
    running: false,
    disable: links,
    obstacle: null,
    stop: [['rc-service', '--nodeps', name, 'stop']],
    start: [['rc-service', name, 'start']],
  };
}

/** What OpenRC runs at the end of a boot, as rc.local. */
function localStarts(): Entry[] {
  const folder = '/etc/local.d';
  return namesIn(folder)
    .filter((name) => name.endsWith('.start'))
    .flatMap((name): Entry[] => {
      const from = join(folder, name);
      const starts = startsOf(readText(from) ?? '');
      if (starts.parts.length === 0) return [];
      const enabled = (Number(statOf(from)?.mode ?? 0) & 0o111) !== 0;
      const disable: Change[] = enabled ? [{ change: 'rename', from, to: `${from}.off` }] : [];
      const rest = { enabled, running: false, disable, obstacle: null, stop: [], start: [['sh', from]] };
      return [{ kind: 'script', name: from, ...starts, ...rest }];
    });
}

/** By this name no runlevel starts it: rcS of BusyBox runs S??*, System V stops what begins with K. */
function toKill(path: string): { from: string; to: string } {
  return { from: path, to: join(path, '..', basename(path).replace(/^S/, 'K')) };
}

function linksOf(folder: string, name: string): string[] {
  return namesIn(folder)
    .filter((link) => /^S\d\d/.test(link) && link.slice(3) === name)
    .map((link) => join(folder, link));
}
