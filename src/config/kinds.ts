import * as v from 'valibot';
import { normalHostKey } from '../support/host-key.ts';

/** A part of a JSON Schema document. */
export type JsonSchema = { readonly [keyword: string]: unknown };

/**
 * A kind of value: how text becomes what the file would hold, what is then accepted, and how that is told to people
 * (`allowed`) and to editors (`json`). Text that cannot be converted is handed on as it is, for the schema to refuse.
 */
export interface Kind<T> {
  readonly schema: v.GenericSchema<unknown, T>;
  readonly fromText: (text: string) => unknown;
  readonly allowed: string;
  readonly json: JsonSchema;
}

/** setTimeout holds 2^31 - 1 ms; anything longer would fire at once. */
export const LONGEST_SECONDS = 2_147_483;

const asIs = (text: string): unknown => text;
const word = (text: string): string => text.trim().toLowerCase();

function numberFromText(text: string): unknown {
  const trimmed = text.trim();
  return /^[+-]?(?:\d+\.?\d*|\.\d+)$/.test(trimmed) ? Number(trimmed) : text;
}

const WORDS = new Map<unknown, boolean>([
  ['1', true],
  ['on', true],
  ['true', true],
  ['0', false],
  ['off', false],
  ['false', false],
]);

export const flag: Kind<boolean> = {
  schema: v.union([
    v.boolean(),
    v.pipe(
      v.picklist([0, 1]),
      v.transform((digit) => digit === 1),
    ),
  ]),
  fromText: (text) => WORDS.get(word(text)) ?? text,
  allowed: 'true or false (also 1 or 0, on or off)',
  json: { type: 'boolean' },
};

export const port: Kind<number> = {
  schema: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65535)),
  fromText: numberFromText,
  allowed: 'a whole number from 1 to 65535',
  json: { type: 'integer', minimum: 1, maximum: 65535 },
};

/** 0 lets the system choose. */
export const portOrAny: Kind<number> = {
  ...port,
  schema: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65535)),
  allowed: 'a whole number from 1 to 65535, or 0 for any free port',
  json: { ...port.json, minimum: 0 },
};

/** A whole number from 1 to `max`. */
export function count(max: number): Kind<number> {
  return {
    schema: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(max)),
    fromText: numberFromText,
    allowed: `a whole number from 1 to ${max}`,
    json: { type: 'integer', minimum: 1, maximum: max },
  };
}

export interface PortRange {
  /** Both inclusive. */
  readonly start: number;
  readonly end: number;
}

const PORT_RANGE = /^(\d{1,5}) *- *(\d{1,5})$/;

/** `40000-49999`; text, like a value that was read already, gives both ends. */
export const portRange: Kind<PortRange> = {
  schema: v.pipe(
    v.strictObject({ start: port.schema, end: port.schema }),
    v.check(({ start, end }) => start < end),
  ),
  fromText(input) {
    const [, start, end] = PORT_RANGE.exec(input.trim()) ?? [];
    return start === undefined ? input : { start: Number(start), end: Number(end) };
  },
  allowed: 'two ports, the lower one first, for example 40000-49999',
  json: { type: 'string', pattern: PORT_RANGE.source },
};

/** A duration in seconds, fractions included; with `zero` it may be 0. */
export function seconds({ zero, max = LONGEST_SECONDS }: { zero: boolean; max?: number }): Kind<number> {
  return {
    schema: v.pipe(
      v.number(),
      v.finite(),
      v.check((value) => (zero ? value >= 0 : value > 0)),
      v.maxValue(max),
    ),
    fromText: numberFromText,
    allowed: `a number of seconds ${zero ? 'from 0' : 'above 0'} to ${max}, fractions included`,
    json: { type: 'number', [zero ? 'minimum' : 'exclusiveMinimum']: 0, maximum: max },
  };
}

export function choice<const T extends string>(words: readonly T[]): Kind<T> {
  return { schema: v.picklist(words), fromText: word, allowed: words.join(', '), json: { enum: words } };
}

function text(pattern: RegExp, allowed: string, check: (value: string) => boolean = () => true): Kind<string> {
  return {
    schema: v.pipe(v.string(), v.maxLength(1024), v.regex(pattern), v.check(check)),
    fromText: asIs,
    allowed,
    // Empty text is the same as no value.
    json: { type: 'string', anyOf: [{ const: '' }, { pattern: pattern.source }] },
  };
}

/** No control characters and no line separators; written out, since a Node without Intl has no \p classes. */
const PRINTABLE = '[^\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029]';

export const absolutePath = text(
  new RegExp(`^/${PRINTABLE}{0,1023}$`),
  'an absolute path of at most 1024 characters, without control characters',
);

export const command = text(
  new RegExp(`^(?:/${PRINTABLE}{0,1023}|[A-Za-z0-9._+-]{1,64})$`),
  'the name of a program, or its absolute path; no arguments',
);

const PATH_LIST_MAX = 16;

export const pathList: Kind<string[]> = {
  schema: v.pipe(v.array(absolutePath.schema), v.maxLength(PATH_LIST_MAX)),
  fromText: (input) => input.split(',').map((part) => part.trim()),
  allowed: `a list of at most ${PATH_LIST_MAX}, each ${absolutePath.allowed}; as text separated by commas`,
  json: { type: 'array', maxItems: PATH_LIST_MAX, items: { type: 'string', pattern: `^/${PRINTABLE}{0,1023}$` } },
};

/** A name that is shown and goes into a TXT record, whose strings hold 255 bytes with their key. */
export const label = text(new RegExp(`^${PRINTABLE}{1,60}$`), '1 to 60 characters, without control characters');

/** Without credentials, since a URL ends up in logs; without a query, since paths are put behind it. */
export const url = text(
  /^https?:\/\/[^\s/?#@\\\u0000-\u001f\u007f]+(?:\/[^\s?#@\\\u0000-\u001f\u007f]*)?$/,
  'an http or https address without user, query and fragment, for example https://meeting.example.org',
  URL.canParse, // a port above 65535, brackets that do not close
);

const hostKeyText = text(
  /^(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)) [A-Za-z0-9+/]{40,}={0,2}(?: [\x20-\x7e]*)?$/,
  'type and base64 of a host key: ssh-ed25519, ssh-rsa or ecdsa-sha2-nistp256, -384 or -521',
);

/** One public key as a .pub file, or a line of known_hosts without its names, has it; the whole of it. */
export const hostKey: Kind<string> = {
  ...hostKeyText,
  schema: v.pipe(
    hostKeyText.schema,
    v.check((key) => normalHostKey(key) !== null),
  ),
};

/** The device key goes into the handshake line and, later, into URLs. */
export const identifier = text(/^[\x21-\x7e]{1,128}$/, '1 to 128 printable ASCII characters without spaces');

/** It is the user name of the ssh connection, in a configuration of ssh: nothing in it may mean something there. */
export const userToken = text(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/, '1 to 128 letters, digits, dots, _ and -');

/** It goes into a header of HTTP, and must not be guessed. */
export const bearerToken = text(/^[\x21-\x7e]{16,256}$/, '16 to 256 printable ASCII characters without spaces');

export const secretText = text(
  new RegExp(`^${PRINTABLE}{1,512}$`),
  '1 to 512 printable characters, without control characters',
);

/**
 * What sshd accepts in front of a key: names, each with a quoted value or none, joined by commas. The grammar keeps a
 * blank outside quotes from ending the options and starting a key of its own.
 */
export const keyOptions = text(
  /^[A-Za-z0-9-]+(?:="(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\")*")?(?:,[A-Za-z0-9-]+(?:="(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\")*")?)*$/,
  'options of an authorized_keys line, for example restrict,port-forwarding,permitopen="localhost:3240"',
);

const LABEL = '[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?';
/** The last label has a letter, so that a mistyped IPv4 address is not taken for a name. */
const HOST_NAME = new RegExp(`^(?=.{1,253}$)(?:${LABEL}\\.)*(?=[0-9_-]*[A-Za-z])${LABEL}\\.?$`);
const HOST_ALLOWED = 'an IPv4 address, an IPv6 address without brackets, or a host name';
const hostSchema = v.union([
  v.pipe(v.string(), v.ipv4()),
  v.pipe(v.string(), v.ipv6()),
  v.pipe(v.string(), v.regex(HOST_NAME)),
]);

export const host: Kind<string> = {
  schema: hostSchema,
  fromText: (input) => input.trim(),
  allowed: HOST_ALLOWED,
  json: { type: 'string', maxLength: 253 },
};

export const hostList: Kind<string[]> = {
  schema: v.pipe(v.array(v.pipe(hostSchema, v.toLowerCase())), v.maxLength(64)),
  fromText: (input) => input.split(',').map((part) => part.trim()),
  allowed: `a list of at most 64, each ${HOST_ALLOWED}; as text separated by commas`,
  json: { type: 'array', maxItems: 64, items: { type: 'string', minLength: 1, maxLength: 253 } },
};

const PIN_HEX = /^(?:sha256(?::|\/\/?))?([0-9A-Fa-f]{64}|[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){31})$/;
const PIN_BASE64 = /^(?:sha256(?::|\/\/?))?([A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=?)$/;

/** Gives 64 lower-case hex digits. `sha256:`, `sha256/` and curl's `sha256//` may stand in front. */
export const pin: Kind<string> = {
  schema: v.pipe(
    v.string(),
    v.check((value) => PIN_HEX.test(value) || PIN_BASE64.test(value)),
    v.transform((value) => {
      const hex = PIN_HEX.exec(value)?.[1];
      return (
        hex?.replaceAll(':', '').toLowerCase() ??
        Buffer.from(PIN_BASE64.exec(value)?.[1] ?? '', 'base64').toString('hex')
      );
    }),
  ),
  fromText: (input) => input.trim(),
  allowed:
    'a SHA-256 of 32 bytes as 64 hex digits, with or without colons, or as base64; sha256: or sha256/ may stand in front',
  json: { type: 'string', anyOf: [{ const: '' }, { pattern: PIN_HEX.source }, { pattern: PIN_BASE64.source }] },
};

const SERVICE_NAME = /^[a-z0-9][a-z0-9_-]{0,31}$/;

/** Text that repeats a name, or has a part that is not name=port, stays text. */
function servicesFromText(input: string): unknown {
  const pairs = input.split(',').map((part) => part.split('=').map((side) => side.trim()));
  const names = new Set(pairs.map(([name]) => name));
  if (names.size < pairs.length || pairs.some((pair) => pair.length !== 2)) return input;
  return Object.fromEntries(pairs.map(([name = '', number = '']) => [name, numberFromText(number)]));
}

const isServices = (value: unknown): value is Record<string, number> =>
  typeof value === 'object' &&
  value !== null &&
  !Array.isArray(value) &&
  Object.keys(value).length <= 64 &&
  Object.entries(value).every(([name, number]) => SERVICE_NAME.test(name) && v.is(port.schema, number));

export const services: Kind<Record<string, number>> = {
  // Not v.record: it drops names such as "constructor" without a word.
  schema: v.custom<Record<string, number>>(isServices),
  fromText: servicesFromText,
  allowed: 'at most 64 names (a-z, 0-9, _ and -) with a port each; as text: ssh=22,http=5000',
  json: {
    type: 'object',
    maxProperties: 64,
    propertyNames: { pattern: SERVICE_NAME.source },
    additionalProperties: port.json,
  },
};
