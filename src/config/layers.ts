import * as v from 'valibot';
import { ENVIRONMENT, type Fault, kindOf, printableKey, printableOf } from './faults.ts';
import { nearest } from './nearest.ts';
import { membersOf, OPTION_KEYS, type OptionKey, optionOf } from './options.ts';

/** Where a value comes from, the strongest last. */
export const ORIGINS = ['default', 'deployed', 'last-good', 'file', 'environment'] as const;
export type Origin = (typeof ORIGINS)[number];

/** A value that passed the check of its option. */
export interface Found {
  readonly value: unknown;
  /** The name that it was set by. */
  readonly name: string;
  readonly origin: Origin;
  /** The path of the file, or `environment`. */
  readonly source: string;
}

/** What one source says: the good values, and every fault. */
export interface Layer {
  readonly found: ReadonlyMap<OptionKey, Found>;
  /** Options with a value that was refused; no further conclusion is drawn about them. */
  readonly refused: ReadonlySet<OptionKey>;
  readonly faults: readonly Fault[];
}

export type Environment = Readonly<Record<string, string | undefined>>;

class LayerBuilder {
  readonly found = new Map<OptionKey, Found>();
  readonly refused = new Set<OptionKey>();
  readonly faults: Fault[] = [];
  readonly #origin: Origin;
  readonly #source: string;

  constructor(origin: Origin, source: string) {
    this.#origin = origin;
    this.#source = source;
  }

  /** Takes a raw value; text is read by the same rules wherever it stands, and empty text is no value. */
  add(key: OptionKey, name: string, raw: unknown): void {
    if (raw === '' || raw === undefined) return;
    const option = optionOf(key);
    const already = this.found.get(key);
    if (already !== undefined) {
      this.fault(name, printableOf(option, raw), `to be set once; it is set as ${already.name} too`);
      return;
    }
    const result = v.safeParse(option.kind.schema, typeof raw === 'string' ? option.kind.fromText(raw) : raw);
    if (result.success) {
      this.found.set(key, { value: result.output, name, origin: this.#origin, source: this.#source });
    } else {
      this.refused.add(key);
      this.fault(name, printableOf(option, raw), option.kind.allowed);
    }
  }

  fault(key: string, value: string, allowed: string): void {
    this.faults.push({ key: printableKey(key), value, allowed, source: this.#source });
  }
}

const KEY_BY_ENV = new Map(OPTION_KEYS.map((key) => [optionOf(key).env, key]));

/** Reads the environment. Variables that are not options are left alone (see `unknownVariables`). */
export function readEnvironment(env: Environment): Layer {
  return readNamed(KEY_BY_ENV, env, 'environment', ENVIRONMENT);
}

/** Reads the named values that are options, and nothing else. */
export function readNamed(
  names: ReadonlyMap<string, OptionKey>,
  values: Readonly<Record<string, unknown>>,
  origin: Origin,
  source: string,
): Layer {
  const layer = new LayerBuilder(origin, source);
  for (const [name, key] of names) layer.add(key, name, values[name]);
  return layer;
}

/** Reads the parsed content of a configuration file. Every key that is not an option is a fault. */
export function readFile(content: unknown, origin: Origin, source: string): Layer {
  const layer = new LayerBuilder(origin, source);
  readSection(layer, '', content);
  return layer;
}

function readSection(layer: LayerBuilder, section: string, content: unknown): void {
  if (typeof content !== 'object' || content === null || Array.isArray(content)) {
    layer.fault(section === '' ? '(whole file)' : section, kindOf(content), 'an object: { … }');
    return;
  }
  const members = membersOf(section);
  for (const [name, value] of Object.entries(content)) {
    const path = section === '' ? name : `${section}.${name}`;
    // At the top, the name of a variable is a key too; $schema serves editors.
    const alias = section === '' ? KEY_BY_ENV.get(name) : undefined;
    const member = members.find((candidate) => candidate.name === name);
    if (alias !== undefined) layer.add(alias, name, value);
    else if (member?.key) layer.add(member.key, path, value);
    else if (member !== undefined) readSection(layer, path, value);
    else if (path !== '$schema') layer.fault(path, kindOf(value), knownKeys(members, name, path));
  }
}

function knownKeys(members: { name: string; path: string }[], name: string, path: string): string {
  if (name.includes('.')) return 'sections as objects, for example "http": { "port": 5000 }';
  const guess = nearest(path, [...members.map((member) => member.path), ...OPTION_KEYS]);
  if (guess !== null) return `a known key; perhaps ${guess} is meant`;
  return `a known key: ${members.map((member) => member.name).join(', ')}`;
}

/** Variables with a prefix of ours that are no option, each with the option that may have been meant. */
export function unknownVariables(
  env: Environment,
  known: readonly string[] = [...KEY_BY_ENV.keys()],
  prefix = /^(?:ZEROFORCE|MEETING)_/,
): { name: string; meant: string | null }[] {
  return Object.keys(env)
    .filter((name) => prefix.test(name) && !known.includes(name))
    .map((name) => ({ name: printableKey(name), meant: nearest(name, known) }));
}
