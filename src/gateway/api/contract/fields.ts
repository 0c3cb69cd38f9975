import * as v from 'valibot';

// What the fields of requests and answers may hold. Each check has a sentence of its own for people, since valibot's
// repeat the value, which may be a secret.

export const DEVICE_KEY = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const SERVICE_NAME = /^[a-z0-9_-]{1,32}$/;
/** Whatever can stand in a header; 6 is what deployed devices have. */
const TOKEN_CODE = /^[\x21-\x7e]{6,128}$/;
/** Control characters, as they could end up in a log or a terminal. */
const PRINTABLE = /^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$/;

const matching = (pattern: RegExp, allowed: string) => v.pipe(v.string(), v.regex(pattern, `must be ${allowed}`));

export const deviceKey = matching(DEVICE_KEY, '1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit');
export const tokenCode = matching(TOKEN_CODE, '6 to 128 printable ASCII characters without blanks');
export const serviceName = matching(SERVICE_NAME, '1 to 32 of a-z 0-9 _ -');

export const line = (minimum: number, maximum: number) =>
  v.pipe(
    v.string(),
    v.minLength(minimum, `must have at least ${minimum} characters`),
    v.maxLength(maximum, `must have at most ${maximum} characters`),
    v.regex(PRINTABLE, 'must be one line without control characters'),
  );

export const port = v.pipe(
  v.number(),
  v.integer('must be a whole number'),
  v.minValue(1, 'must be from 1 to 65535'),
  v.maxValue(65_535, 'must be from 1 to 65535'),
);

// What answers hold.

export const count = v.pipe(v.number(), v.integer(), v.minValue(0));
/** ISO 8601 in UTC. */
export const time = v.pipe(v.string(), v.isoTimestamp());
/** As the deployed servers write it, in UTC. */
export const meetingTime = v.pipe(v.string(), v.regex(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/));
export const entry = v.picklist(['agent', 'ssh']);
export const done = v.strictObject({ ok: v.literal(true) });
