import { join } from 'node:path';
import { linkTarget } from '../support/readable.ts';
import { startsOf } from './entries.ts';
import { command, namesIn, readText } from './machine.ts';
import type { Change, Entry } from './model.ts';

/** The first that has a unit counts (systemd.unit(5)). */
const FOLDERS = [
  '/etc/systemd/system',
  '/run/systemd/system',
  '/usr/local/lib/systemd/system',
  '/usr/lib/systemd/system',
  '/lib/systemd/system',
];
const [OWN_FOLDER = ''] = FOLDERS;
/** What pulls a unit in at boot. */
const PULLS = /\.(?:wants|requires|upholds)$/;

export interface UnitState {
  readonly active: boolean;
  readonly fragment: string;
  readonly triggeredBy: readonly string[];
}

/** The units of systemd that start something of the deployed software. */
export async function systemdEntries(): Promise<Entry[]> {
  const units = new Map<string, string>();
  for (const folder of FOLDERS) {
    for (const name of namesIn(folder)) {
      if (name.endsWith('.service') && !units.has(name)) units.set(name, unitText(name, join(folder, name)));
    }
  }
  const found = [...units].flatMap(([name, text]) => {
    const starts = startsOf(commandsOf(text));
    return starts.parts.length === 0 ? [] : [{ name, starts }];
  });
  const states = await unitStates(found.map(({ name }) => name));
  return found.map(({ name, starts }) => ({
    ...starts,
    ...unitEntry(name, states.get(name) ?? { active: false, fragment: '', triggeredBy: [] }),
  }));
}

/** How a unit is stopped, kept from the next boot, and brought back. */
export function unitEntry(name: string, { active, fragment, triggeredBy }: UnitState): Omit<Entry, 'parts' | 'others'> {
  const units = [name, ...triggeredBy];
  const pulls = units.flatMap((unit) => pullsOf(OWN_FOLDER, unit));
  // Links of the system itself are not ours to remove; a mask lies over the unit instead.
  const fixed = FOLDERS.slice(1).flatMap((folder) => units.flatMap((unit) => pullsOf(folder, unit)));
  const masks = [...new Set(fixed.map(({ unit }) => unit))];
  const masked = masks.filter((unit) => linkTarget(join(OWN_FOLDER, unit)) === '/dev/null');
  const cannot = masks.find((unit) => readText(join(OWN_FOLDER, unit)) !== null && !masked.includes(unit));
  return {
    kind: 'systemd',
    name,
    enabled: pulls.length > 0 || masks.length > masked.length,
    running: active,
    disable: [
      ...pulls.map(({ path, target }): Change => ({ change: 'unlink', path, target })),
      ...masks
        .filter((unit) => !masked.includes(unit))
        .map((unit): Change => ({ change: 'link', path: join(OWN_FOLDER, unit), target: '/dev/null' })),
    ],
    obstacle:
      cannot === undefined ? null : `${cannot} is wanted by the system itself, and ${fragment} cannot be masked`,
    stop: [['systemctl', 'stop', ...units.toReversed()]],
    start: [['systemctl', 'start', ...units]],
  };
}

/** What systemd says of units; those that it does not know are missing. */
export async function unitStates(names: readonly string[]): Promise<Map<string, UnitState>> {
  const states = new Map<string, UnitState>();
  if (names.length === 0) return states;
  const properties = ['Id', 'ActiveState', 'FragmentPath', 'TriggeredBy'].flatMap((each) => ['-p', each]);
  const { output } = await command(['systemctl', 'show', ...properties, '--', ...names]);
  for (const block of output.split(/\n\s*\n/)) {
    const value = (name: string) => new RegExp(`^${name}=(.*)$`, 'm').exec(block)?.[1] ?? '';
    states.set(value('Id'), {
      active: /^(?:active|activating|reloading|deactivating)$/.test(value('ActiveState')),
      fragment: value('FragmentPath'),
      triggeredBy: value('TriggeredBy')
        .split(' ')
        .filter((name) => name !== ''),
    });
  }
  return states;
}

function pullsOf(folder: string, unit: string): { unit: string; path: string; target: string }[] {
  return namesIn(folder)
    .filter((name) => PULLS.test(name))
    .flatMap((name) => {
      const path = join(folder, name, unit);
      const target = linkTarget(path);
      return target === null ? [] : [{ unit, path, target }];
    });
}

/** The text of a unit with its drop-ins, lines that go on put together. */
export function unitText(name: string, path: string): string {
  const dropIns = FOLDERS.flatMap((folder) =>
    namesIn(join(folder, `${name}.d`))
      .filter((file) => file.endsWith('.conf'))
      .map((file) => join(folder, `${name}.d`, file)),
  );
  return [path, ...dropIns]
    .map((file) => readText(file) ?? '')
    .join('\n')
    .replace(/\\\n/g, ' ');
}

function commandsOf(text: string): string {
  const lines = text.split('\n').filter((line) => /^\s*(?:ExecStart(?:Pre|Post)?|WorkingDirectory)\s*=/.test(line));
  return lines.map((line) => line.trim().replace(/^ExecStart(?:Pre|Post)?\s*=\s*[-@:+!|]*/, '')).join('\n');
}
