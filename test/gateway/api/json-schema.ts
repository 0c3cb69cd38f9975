type Schema = { readonly [keyword: string]: unknown };

/** What of a value is not as a JSON Schema says, of the keywords that our description uses; it throws at any other. */
export function complaints(schema: Schema, value: unknown, root: Schema, where = 'it'): string[] {
  return Object.entries(schema).flatMap(([keyword, wanted]) => {
    const check = KEYWORDS[keyword];
    if (check === undefined) throw new Error(`the keyword ${keyword} is not known`);
    return check(wanted, value, where, root, schema);
  });
}

type Check = (wanted: unknown, value: unknown, where: string, root: Schema, schema: Schema) => string[];

const unless = (holds: boolean, complaint: string): string[] => (holds ? [] : [complaint]);

const TYPES: Record<string, (value: unknown) => boolean> = {
  string: (value) => typeof value === 'string',
  number: (value) => typeof value === 'number',
  integer: (value) => Number.isInteger(value),
  boolean: (value) => typeof value === 'boolean',
  null: (value) => value === null,
  array: Array.isArray,
  object: (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
};

const asNumber = (holds: (value: number, limit: number) => boolean, word: string): Check => {
  return (limit, value, where) =>
    unless(typeof value !== 'number' || holds(value, limit as number), `${where} is not ${word} ${limit}`);
};
const asText = (holds: (value: string, wanted: never) => boolean, word: string): Check => {
  return (wanted, value, where) =>
    unless(typeof value !== 'string' || holds(value, wanted as never), `${where} is not ${word} ${wanted}`);
};
const asList = (holds: (length: number, limit: number) => boolean, word: string): Check => {
  return (limit, value, where) =>
    unless(!Array.isArray(value) || holds(value.length, limit as number), `${where} has not ${word} ${limit}`);
};

const KEYWORDS: Record<string, Check> = {
  $ref: (name, value, where, root) => {
    const target = String(name)
      .slice(2)
      .split('/')
      .reduce((at, step) => at[step] as Schema, root);
    return complaints(target, value, root, where);
  },
  type: (types, value, where) =>
    unless(
      [types].flat().some((type) => TYPES[String(type)]?.(value)),
      `${where} is not of type ${String(types)}`,
    ),
  const: (wanted, value, where) => unless(value === wanted, `${where} is not ${String(wanted)}`),
  enum: (wanted, value, where) => unless((wanted as unknown[]).includes(value), `${where} is none of ${wanted}`),
  anyOf: (schemas, value, where, root) =>
    unless(
      (schemas as Schema[]).some((schema) => complaints(schema, value, root).length === 0),
      `${where} is none of what it may be`,
    ),
  pattern: asText((value, pattern: string) => new RegExp(pattern, 'u').test(value), 'like'),
  format: asText((value) => /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(value), 'of the format'),
  minLength: asText((value, limit: number) => value.length >= limit, 'longer than'),
  maxLength: asText((value, limit: number) => value.length <= limit, 'shorter than'),
  minItems: asList((length, limit) => length >= limit, 'as many items as'),
  maxItems: asList((length, limit) => length <= limit, 'as few items as'),
  minimum: asNumber((value, limit) => value >= limit, 'at least'),
  maximum: asNumber((value, limit) => value <= limit, 'at most'),
  exclusiveMinimum: asNumber((value, limit) => value > limit, 'above'),
  items: (schema, value, where, root) =>
    Array.isArray(value)
      ? value.flatMap((item, index) => complaints(schema as Schema, item, root, `${where}[${index}]`))
      : [],
  required: (names, value, where) =>
    TYPES.object?.(value)
      ? (names as string[]).flatMap((name) => unless(Object.hasOwn(value as object, name), `${where} has no ${name}`))
      : [],
  properties: (schemas, value, where, root) =>
    TYPES.object?.(value)
      ? Object.entries(schemas as Record<string, Schema>).flatMap(([name, schema]) =>
          Object.hasOwn(value as object, name)
            ? complaints(schema, (value as Record<string, unknown>)[name], root, `${where}.${name}`)
            : [],
        )
      : [],
  additionalProperties: (allowed, value, where, _root, schema) => {
    if (allowed !== false || !TYPES.object?.(value)) return [];
    const known = Object.keys((schema.properties ?? {}) as object);
    return Object.keys(value as object).flatMap((name) => unless(known.includes(name), `${where} has ${name}, too`));
  },
};
