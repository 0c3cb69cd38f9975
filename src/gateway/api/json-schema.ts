import type { Schema } from './contract/route.ts';

export type JsonSchema = { readonly [keyword: string]: unknown };

/** What of a valibot schema is read here, whichever it is. */
interface Parts {
  readonly type: string;
  /** The schema itself, then its checks. */
  readonly pipe?: readonly Parts[];
  readonly requirement?: unknown;
  readonly entries?: Readonly<Record<string, Parts>>;
  readonly item?: Parts;
  readonly wrapped?: Parts;
  readonly literal?: unknown;
  readonly options?: readonly unknown[];
}

/**
 * A schema as JSON Schema (2020-12, as OpenAPI 3.1 has it). It knows what the contract uses, and throws at anything else:
 * a description that leaves something out would be wrong in silence.
 */
export function jsonSchemaOf(schema: Schema): JsonSchema {
  return convert(schema as unknown as Parts);
}

/** Whether the value may be left out. */
export function isOptional(schema: Schema): boolean {
  return mayBeMissing(schema as unknown as Parts);
}

const mayBeMissing = ({ type }: Parts): boolean => type === 'optional' || type === 'nullish';

function convert(schema: Parts): JsonSchema {
  const [first, ...actions] = schema.pipe ?? [schema];
  const base = convertType(first ?? schema);
  return Object.assign({}, base, ...actions.map(({ type, requirement }) => convertAction(type, requirement)));
}

function convertType(schema: Parts): JsonSchema {
  switch (schema.type) {
    case 'string':
    case 'number':
    case 'boolean':
      return { type: schema.type };
    case 'literal':
      return { const: schema.literal };
    case 'picklist':
      return { type: 'string', enum: schema.options };
    case 'optional':
      return convert(schema.wrapped as Parts);
    case 'nullable':
    case 'nullish':
      return orNull(convert(schema.wrapped as Parts));
    case 'array':
      return { type: 'array', items: convert(schema.item as Parts) };
    case 'object':
    case 'loose_object':
    case 'strict_object':
      return convertObject(schema);
    default:
      throw new Error(`the contract has a schema ${schema.type}, which has no JSON Schema here`);
  }
}

function convertObject({ type, entries = {} }: Parts): JsonSchema {
  const required = Object.keys(entries).filter((name) => !mayBeMissing(entries[name] as Parts));
  return {
    type: 'object',
    properties: Object.fromEntries(Object.entries(entries).map(([name, entry]) => [name, convert(entry)])),
    ...(required.length > 0 && { required }),
    ...(type === 'strict_object' && { additionalProperties: false }),
  };
}

function orNull(schema: JsonSchema): JsonSchema {
  return typeof schema.type === 'string' && schema.enum === undefined
    ? { ...schema, type: [schema.type, 'null'] }
    : { anyOf: [schema, { type: 'null' }] };
}

const ACTIONS: Readonly<Record<string, (requirement: unknown) => JsonSchema>> = {
  regex: (pattern) => ({ pattern: (pattern as RegExp).source }),
  min_length: (length) => ({ minLength: length }),
  max_length: (length) => ({ maxLength: length }),
  min_value: (value) => ({ minimum: value }),
  max_value: (value) => ({ maximum: value }),
  gt_value: (value) => ({ exclusiveMinimum: value }),
  integer: () => ({ type: 'integer' }),
  iso_timestamp: () => ({ format: 'date-time' }),
};

function convertAction(type: string, requirement: unknown): JsonSchema {
  const action = ACTIONS[type];
  if (action === undefined) throw new Error(`the contract has a check ${type}, which has no JSON Schema here`);
  return action(requirement);
}
