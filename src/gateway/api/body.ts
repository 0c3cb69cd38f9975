import type { IncomingMessage } from 'node:http';
import { Refusal } from './refusal.ts';

/** Far above the longest body that means anything here. */
const BODY_MAX_BYTES = 64 * 1024;

/**
 * The JSON that a request brings; undefined where it brings nothing. The type is looked at before the body is read, the
 * length as early as it is known.
 *
 * @throws Refusal 413, 415, 400
 */
export async function readJson(req: IncomingMessage): Promise<unknown> {
  const { 'content-length': length, 'transfer-encoding': encoding } = req.headers;
  if (encoding === undefined && Number(length ?? 0) === 0) return undefined;
  if (Number(length ?? 0) > BODY_MAX_BYTES) throw tooLarge();
  refuseForeignType(req);
  const body = await readBody(req);
  if (body.length === 0) return undefined;
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch {
    throw new Refusal('Invalid JSON', 'The body is not JSON in UTF-8');
  }
}

function refuseForeignType(req: IncomingMessage): void {
  const { 'content-type': types = [], 'content-encoding': encodings = [] } = req.headersDistinct;
  const [type = '', ...parameters] = (types[0] ?? '').split(';').map((part) => part.trim().toLowerCase());
  const charset = parameters.find((part) => part.startsWith('charset='))?.slice('charset='.length);
  const isUtf8 = charset === undefined || /^"?utf-?8"?$/.test(charset);
  if (types.length !== 1 || type !== 'application/json' || !isUtf8) {
    throw new Refusal('Unsupported media type', 'Send the body as application/json in UTF-8');
  }
  if (encodings.some((encoding) => encoding.toLowerCase() !== 'identity')) {
    throw new Refusal('Unsupported media type', 'Send the body without compression');
  }
}

function readBody(req: IncomingMessage): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const take = (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= BODY_MAX_BYTES) {
        chunks.push(chunk);
        return;
      }
      req.off('data', take);
      reject(tooLarge());
    };
    req.on('data', take);
    req.once('end', () => resolve(Buffer.concat(chunks)));
    req.once('close', () => reject(new Refusal('Invalid JSON', 'The request ended before its body did')));
  });
}

const tooLarge = () => new Refusal('Body too large', `The body has more than ${BODY_MAX_BYTES} bytes`);
