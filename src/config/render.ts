import type { LoadedConfig } from './load.ts';
import { membersOf, optionOf } from './options.ts';
import type { Notice, Setting } from './resolve.ts';

/** What `config show --json` prints. Secrets are masked already. */
export interface ShownConfig {
  readonly origin: LoadedConfig['origin'];
  readonly file: string;
  readonly settings: readonly Setting[];
  readonly notices: readonly Notice[];
}

export function showConfig({ origin, file, settings, notices }: LoadedConfig): ShownConfig {
  return { origin, file, settings, notices };
}

const ORIGIN_TEXT: Readonly<Record<LoadedConfig['origin'], (file: string) => string>> = {
  file: (file) => `The configuration file is ${file}.`,
  'last-good': (file) => `${file} is broken; this is the configuration that last worked.`,
  deployed: (file) => `There is no ${file}; this comes from files of the software deployed before.`,
  defaults: (file) => `There is no ${file}; these are the defaults.`,
};

/** Plain text: a line an option with key, value and origin, then the notices. */
export function configText({ origin, file, settings, notices }: ShownConfig): string {
  const rows = settings.map(({ key, value, origin: from, source }) => [
    key,
    value === null ? '-' : JSON.stringify(value),
    from === 'default' || source === null ? 'default' : source,
  ]);
  const width = (column: number) => Math.max(...rows.map((row) => row[column]?.length ?? 0));
  const widths = [width(0), width(1)];
  const lines = rows.map(([key = '', value = '', from = '']) =>
    [key.padEnd(widths[0] ?? 0), value.padEnd(widths[1] ?? 0), from].join('  '),
  );
  return [ORIGIN_TEXT[origin](file), '', ...lines, ...notices.map(({ sentence }) => `\nNote: ${sentence}.`)].join('\n');
}

/** A configuration file with the main options at their defaults; empty text marks what is to be filled in. */
export function initialConfig(): string {
  return `${JSON.stringify(initialSection(''), null, 2)}\n`;
}

function initialSection(section: string): Record<string, unknown> {
  const entries = membersOf(section).flatMap(({ name, path, key }): [string, unknown][] => {
    if (key !== null) return optionOf(key).initial ? [[name, optionOf(key).default ?? '']] : [];
    const inside = initialSection(path);
    return Object.keys(inside).length === 0 ? [] : [[name, inside]];
  });
  return Object.fromEntries(entries);
}
