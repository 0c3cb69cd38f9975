import { type OptionKey, optionOf } from '../config/options.ts';
import type { Configuration } from './model.ts';

/** Without one of these the other end does not know the device. */
const IDENTITY: readonly OptionKey[] = ['meeting.deviceKey', 'meeting.token', 'meeting.proxy.host'];

/** What of the identity the deployed files lack; empty where they have it whole. */
export function missingIdentity({ deployed }: Pick<Configuration, 'deployed'>): OptionKey[] {
  return IDENTITY.filter((key) => !deployed.found.has(key));
}

/**
 * What our configuration file lacks: null where nothing is to be written. One that says by itself what tunnel there is to
 * be is somebody's own, and keeps every value; only a port of the pairing routes that is taken is changed in it.
 */
export function takenOver(configuration: Configuration, httpPort: number): { keys: OptionKey[]; text: string } | null {
  const { content, deployed, settled, text } = configuration;
  const values = new Map<OptionKey, unknown>();
  if (!settled) {
    const whole = missingIdentity(configuration).length === 0;
    for (const [key, { value }] of deployed.found) {
      // Half an identity is a fault of a file, and nobody would know whose.
      if (whole || !key.startsWith('meeting.')) values.set(key, value);
    }
  }
  if (httpPort !== configuration.httpPort) values.set('http.port', httpPort);
  const changed = [...values].filter(([key, value]) => (valueAt(content, key) ?? optionOf(key).default) !== value);
  if (changed.length === 0) return null;
  const merged = changed.reduce((all, [key, value]) => withValue(all, key.split('.'), value), content);
  const next = `${JSON.stringify(merged, null, 2)}\n`;
  return next === text ? null : { keys: changed.map(([key]) => key), text: next };
}

type Section = Readonly<Record<string, unknown>>;

function withValue(section: Section, [name = '', ...rest]: readonly string[], value: unknown): Section {
  return { ...section, [name]: rest.length === 0 ? value : withValue(sectionOf(section[name]), rest, value) };
}

function valueAt(content: Section, key: string): unknown {
  return key.split('.').reduce<unknown>((value, name) => sectionOf(value)[name], content);
}

function sectionOf(value: unknown): Section {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Section) : {};
}
