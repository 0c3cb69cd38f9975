import { Failure } from '../support/failures.ts';
import type { Option } from './options.ts';
import { MASK } from './secret.ts';

/** The `source` of what comes from environment variables. */
export const ENVIRONMENT = 'environment';

/** One thing that is wrong in the configuration. */
export interface Fault {
  /** The key as it was written: a path in the file such as `tunnel.port`, or the name of a variable. */
  readonly key: string;
  /** The refused value, fit to print: masked, shortened, escaped. Null where there is none. */
  readonly value: string | null;
  /** What would be right. */
  readonly allowed: string;
  /** The path of the file, or `environment`. */
  readonly source: string;
}

/** One line: `tunnel.port = 70000; allowed: a whole number from 1 to 65535; from: /etc/zeroforce/config.json`. */
export function faultLine({ key, value, allowed, source }: Fault): string {
  return `${key}${value === null ? '' : ` = ${value}`}; allowed: ${allowed}; from: ${source}`;
}

/** All that is wrong with the configuration, at once. */
export class ConfigError extends Failure {
  readonly faults: readonly Fault[];

  constructor(faults: readonly Fault[], code: 'config.invalid' | 'gateway.config-invalid' = 'config.invalid') {
    super(code, `${counted(faults)}: ${faults.map(faultLine).join(' | ')}`);
    this.name = 'ConfigError';
    this.faults = faults;
  }

  /** Plain text of several lines for a terminal, without a newline at its end. */
  report(): string {
    return [`${counted(this.faults)}:`, ...this.faults.map((fault) => `  ${faultLine(fault)}`), this.remedy].join('\n');
  }
}

function counted({ length }: readonly Fault[]): string {
  return length === 1 ? 'The configuration has a fault' : `The configuration has ${length} faults`;
}

const SHOWN_CHARACTERS = 60;

/** Controls, line separators and what reorders or hides text on a terminal. */
const UNPRINTABLE = /[\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** A number, text, true, false or null as short text for a terminal. Anything else is named only (see `kindOf`). */
export function printable(value: unknown): string {
  if (typeof value !== 'string') return typeof value === 'object' && value !== null ? kindOf(value) : String(value);
  const short = value.length > SHOWN_CHARACTERS ? `${value.slice(0, SHOWN_CHARACTERS)}…` : value;
  // JSON.stringify escapes the controls below U+0020 and lone surrogates.
  return JSON.stringify(short).replace(
    UNPRINTABLE,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** What a value is, without the value: under a wrong key it may be a secret. */
export function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return '[a list]';
  return { string: '[a text]', number: '[a number]', boolean: '[a boolean]' }[typeof value as string] ?? '[an object]';
}

/** The same for the value of an option, which may be secret. */
export function printableOf(option: Pick<Option<unknown>, 'secret'>, value: unknown): string {
  return option.secret(value) ? MASK : printable(value);
}

/** A key, which is foreign text too, without quotes. */
export function printableKey(key: string): string {
  return printable(key).slice(1, -1);
}
