import { asWritten, GATEWAY_VARIABLES, gatewayOptionOf } from './gateway-options.ts';
import type { JsonSchema } from './kinds.ts';
import { membersOf, OPTION_KEYS, type OptionKey, optionOf } from './options.ts';

/** The JSON Schema of the configuration file, for editors. It describes the plain form of every value. */
export function jsonSchema(): JsonSchema {
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'Configuration of the zeroforce device service',
    ...sectionSchema(''),
  };
}

function sectionSchema(section: string): JsonSchema {
  const properties = membersOf(section).map(({ name, path, key }) => [
    name,
    key === null ? sectionSchema(path) : optionSchema(key),
  ]);
  const schemaKey = section === '' ? { $schema: { type: 'string' } } : {};
  return {
    type: 'object',
    additionalProperties: false,
    properties: { ...schemaKey, ...Object.fromEntries(properties) },
  };
}

function optionSchema(key: OptionKey): JsonSchema {
  const { kind, about, env, default: fallback } = optionOf(key);
  const description = `${about} Environment: ${env}.`;
  return { description, ...(fallback === null ? {} : { default: fallback }), ...kind.json };
}

/** The table of docs/options.md, in Markdown. */
export function optionsTable(): string {
  const rows = OPTION_KEYS.map((key) => {
    const { env, kind, about, applies, default: fallback } = optionOf(key);
    const shown = fallback === null ? 'none' : code(JSON.stringify(fallback));
    return [code(key), code(env), shown, kind.allowed, about, applies];
  });
  return markdown(['Key', 'Environment', 'Default', 'Allowed', 'Meaning', 'Applies'], rows);
}

/** The table of the gateway, in Markdown. */
export function gatewayTable(): string {
  const rows = GATEWAY_VARIABLES.map((env) => {
    const { kind, about, default: fallback } = gatewayOptionOf(env);
    return [code(env), fallback === null ? 'none' : code(String(asWritten(fallback))), kind.allowed, about];
  });
  return markdown(['Environment', 'Default', 'Allowed', 'Meaning'], rows);
}

function markdown(head: string[], rows: string[][]): string {
  return [head, head.map(() => '---'), ...rows.map((row) => row.map((cell) => cell.replaceAll('|', '\\|')))]
    .map((row) => `| ${row.join(' | ')} |\n`)
    .join('');
}

function code(text: string): string {
  return `\`${text}\``;
}
