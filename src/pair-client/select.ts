import type { FoundDevice } from '../discovery/browse.ts';
import type { Target } from './target.ts';

export type Selection =
  /** `sought` is false where it may as well be somebody else's: then its host key decides. */
  | { kind: 'one'; device: FoundDevice; sought: boolean }
  | { kind: 'several'; devices: FoundDevice[] }
  | { kind: 'none' };

/**
 * Which of the devices in the network is meant. Pure.
 *
 * @param remembered the device that this identity was last connected with, where the target names none. It is never
 * asked for again, however many have appeared since. Where it is missing, a single other one may be it under a new
 * name: a device renames itself when its name is taken.
 */
export function select(
  target: Exclude<Target, { kind: 'host' }>,
  devices: readonly FoundDevice[],
  remembered: string | null,
): Selection {
  const named = target.kind === 'any' ? remembered : target.name;
  const matching = named === null ? devices : devices.filter((device) => isNamed(device, named));
  const [first, ...others] = matching;
  if (first !== undefined) {
    // Two that answer to one name are a conflict that is being settled; with no name it is for the user to say.
    return others.length === 0 || named !== null
      ? { kind: 'one', device: first, sought: true }
      : { kind: 'several', devices: [...matching] };
  }
  const [stranger, ...more] = devices;
  if (target.kind !== 'any' || stranger === undefined || more.length > 0) return { kind: 'none' };
  return { kind: 'one', device: stranger, sought: false };
}

/** Whether `name` is the instance name of the device, or its host name with or without `.local`. */
export function isNamed({ name, host }: FoundDevice, wanted: string): boolean {
  const bare = (text: string) =>
    text
      .toLowerCase()
      .replace(/\.$/, '')
      .replace(/\.local$/, '');
  return name.toLowerCase() === wanted.toLowerCase() || (host !== null && bare(host) === bare(wanted));
}
