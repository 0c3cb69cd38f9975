import type { Writable } from 'node:stream';
import type { Request, Response } from 'express';
import multer from 'multer';
import { bytesOf, HASH_BYTES, NUMBER_BYTES } from '../srp/group.ts';
import type { PinRequest } from './pin-guard.ts';
import { Refusal } from './refusal.ts';

/** Far above a form with the longest key that is accepted: RSA-16384 with a comment, about 6 KB. */
const BODY_MAX_BYTES = 16 * 1024;
/** A form of ours has one field; some clients add a few. */
const FIELDS_MAX = 16;
const SESSION_BYTES = 16;

const FORM = 'application/x-www-form-urlencoded';
const MULTIPART = 'multipart/form-data';
const JSON_TYPE = 'application/json';

/**
 * The text of the field `key` from a form, a multipart form or a JSON object.
 *
 * The body is read whole before its type is looked at, so that one too large is 413 whatever it claims to be
 * (pairing: requests 1).
 *
 * @throws Refusal 413, 415 or 400
 */
export async function readKeyField(req: Request, res: Response): Promise<string> {
  const body = await readBody(req);
  const type = mediaType(req, TYPES);
  return text('key', await KEY_VALUES[type](body, req, res));
}

/**
 * What proves the PIN, from a JSON object; the numbers in lower-case hex of their full length (pairing: PIN).
 * @throws Refusal 413, 415 or 400
 */
export async function readPinRequest(req: Request): Promise<PinRequest> {
  const body = await readBody(req);
  mediaType(req, [JSON_TYPE]);
  const field = jsonFields(body);
  const hex = (name: string, bytes: number): Buffer => {
    const value = bytesOf(text(name, field(name)), bytes);
    if (value === null) throw new Refusal(400, `The field "${name}" is not of ${2 * bytes} lower-case hex digits`);
    return value;
  };
  return {
    session: hex('session', SESSION_BYTES).toString('hex'),
    A: hex('A', NUMBER_BYTES),
    M1: hex('M1', HASH_BYTES),
    key: text('key', field('key')),
    mac: hex('mac', HASH_BYTES),
  };
}

/**
 * Reads a body in which nothing is asked for: none, or a JSON object.
 * @throws Refusal 413, 415 or 400
 */
export async function readNothing(req: Request): Promise<void> {
  const body = await readBody(req);
  if (body.length === 0) return;
  mediaType(req, [JSON_TYPE]);
  jsonFields(body);
}

/** The whole body, at most `BODY_MAX_BYTES`. What follows a refusal is left to be drained by the answer. */
function readBody(req: Request): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const tooLarge = () => reject(new Refusal(413, `The request is larger than ${BODY_MAX_BYTES} bytes`));
    if (Number(req.headers['content-length'] ?? 0) > BODY_MAX_BYTES) return tooLarge();
    const chunks: Buffer[] = [];
    let bytes = 0;
    const take = (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= BODY_MAX_BYTES) {
        chunks.push(chunk);
      } else {
        req.off('data', take);
        tooLarge();
      }
    };
    req.on('data', take);
    req.once('end', () => resolve(Buffer.concat(chunks)));
    req.once('close', () => reject(new Refusal(400, 'The request ended before its body did')));
  });
}

/** What says how the body is written; anything that we would have to guess or to unpack is refused. */
function mediaType<T extends string>(req: Request, known: readonly T[]): T {
  const { 'content-type': types = [], 'content-encoding': encodings = [] } = req.headersDistinct;
  if (encodings.some((encoding) => encoding.toLowerCase() !== 'identity')) {
    throw new Refusal(415, 'Compressed requests are not accepted');
  }
  const [essence = '', ...parameters] = (types[0] ?? '').split(';').map((part) => part.trim());
  const type = known.find((each) => each === essence.toLowerCase());
  if (types.length !== 1 || type === undefined) throw new Refusal(415, `Send the key as ${known.join(', ')}`);
  for (const parameter of parameters) {
    const [, charset] = /^charset="?([^"]*)"?$/i.exec(parameter) ?? [];
    if (charset !== undefined && !/^(utf-?8|us-ascii)$/i.test(charset)) {
      throw new Refusal(415, 'Only UTF-8 is accepted');
    }
  }
  return type;
}

/** Every value of the field `key`, as often as it is there, by media type. */
const KEY_VALUES = {
  [FORM]: (body: Buffer): unknown[] => new URLSearchParams(body.toString()).getAll('key'),

  [JSON_TYPE]: (body: Buffer): unknown[] => jsonFields(body)('key'),

  [MULTIPART]: async (body: Buffer, req: Request, res: Response): Promise<unknown[]> => {
    const fields = await parseMultipart(body, req, res);
    return Object.hasOwn(fields, 'key') ? [fields.key].flat() : [];
  },
};

const TYPES = [FORM, MULTIPART, JSON_TYPE] as const;

/** The one text among the values of a field. */
function text(name: string, values: unknown[]): string {
  const [value] = values;
  if (value === undefined) throw new Refusal(400, `The field "${name}" is missing`);
  if (values.length > 1) throw new Refusal(400, `The field "${name}" is there more than once`);
  if (typeof value !== 'string') throw new Refusal(400, `The field "${name}" is not a text`);
  if (value.includes('\ufffd')) throw new Refusal(400, `The field "${name}" is not UTF-8`);
  return value;
}

/** Gives the values of a field of a JSON object, as often as it is there. */
function jsonFields(body: Buffer): (name: string) => unknown[] {
  const json = body.toString();
  const value = parseJson(json);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new Refusal(400, 'The JSON is not an object');
  }
  const names = memberNames(json);
  return (name) => {
    // JSON.parse keeps the last of several; which one was meant is not ours to guess.
    if (names.filter((each) => each === name).length > 1) return ['', ''];
    return Object.hasOwn(value, name) ? [(value as Record<string, unknown>)[name]] : [];
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Refusal(400, 'The JSON is broken');
  }
}

/** The names of the outermost object's members, repeated ones too. `text` is correct JSON. */
function memberNames(text: string): string[] {
  const names: string[] = [];
  let depth = 0;
  for (const [token, colon] of text.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?|[{}[\]]/g)) {
    if (token === '{' || token === '[') depth += 1;
    else if (token === '}' || token === ']') depth -= 1;
    else if (depth === 1 && colon !== undefined) names.push(JSON.parse(token.slice(0, -colon.length)) as string);
  }
  return names;
}

/** `streamHandler` is missing in the published types. It hands over the body, which has been read already. */
type MulterOptions = multer.Options & { streamHandler: (req: Request, parser: Writable) => void };

/** The fields of a multipart form without files; a repeated one is an array, a nested one an object. */
function parseMultipart(body: Buffer, req: Request, res: Response): Promise<Record<string, unknown>> {
  const options: MulterOptions = {
    limits: { fieldSize: BODY_MAX_BYTES, fields: FIELDS_MAX, parts: FIELDS_MAX, headerPairs: 16 },
    streamHandler: (_req, parser) => parser.end(body),
  };
  return new Promise((resolve, reject) => {
    multer(options).none()(req, res, (error: unknown) => {
      if (error instanceof multer.MulterError && error.code === 'LIMIT_UNEXPECTED_FILE') {
        reject(new Refusal(400, 'Send the key as a text field, not as a file'));
      } else if (error) {
        reject(new Refusal(400, 'The multipart form is broken or has too many parts'));
      } else {
        resolve(req.body as Record<string, unknown>);
      }
    });
  });
}
