import { request } from 'node:http';
import type { Clock } from '../support/clock.ts';
import { hostAndPort } from '../support/text.ts';
import type { Answer } from './answers.ts';

export interface DeviceHttpOptions {
  host: string;
  port: number;
  clock: Clock;
  /** Ends a request that is under way. */
  signal: AbortSignal;
  timeoutMs?: number;
}

/** A Pi that starts and writes its SD card answers within this. */
const TIMEOUT_MS = 15_000;
/** The longest answer of a device, a challenge of the PIN, has one. */
const MAX_BODY_BYTES = 16_384;

/**
 * One request to the device, bounded in time and size. No redirect is followed, no connection is kept, and nothing but
 * any type is asked for: the oldest firmware knows no JSON.
 *
 * @param form sent form-encoded, as the deployed add-on does
 * @param json sent as JSON
 * @throws Error in words, when there is no complete answer
 */
export function askDevice(
  { host, port, clock, signal, timeoutMs = TIMEOUT_MS }: DeviceHttpOptions,
  method: 'GET' | 'POST',
  path: string,
  { form, json }: { form?: Record<string, string>; json?: unknown } = {},
): Promise<Answer> {
  const body = form === undefined ? JSON.stringify(json) : new URLSearchParams(form).toString();
  const type = form === undefined ? 'application/json' : 'application/x-www-form-urlencoded';
  const headers = {
    Host: hostAndPort(host.replace(/%.*/, ''), port), // a zone means nothing to the other side
    Accept: '*/*',
    ...(body !== undefined && { 'Content-Type': type, 'Content-Length': Buffer.byteLength(body) }),
  };
  return new Promise((resolve, reject) => {
    const call = request({ host, port, method, path, headers, agent: false, signal }, (response) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > MAX_BODY_BYTES) call.destroy(new Error(`the answer is longer than ${MAX_BODY_BYTES} bytes`));
        else chunks.push(chunk);
      });
      response.on('error', reject);
      response.on('end', () => {
        const { statusCode: status = 0, headers } = response;
        resolve({ status, headers, body: Buffer.concat(chunks).toString('utf8') });
      });
    });
    // Of the whole exchange: a socket's own timeout starts anew with every byte.
    const cancel = clock.after(timeoutMs, () => call.destroy(new Error(`no answer within ${timeoutMs / 1000} s`)));
    call.on('close', cancel);
    call.on('error', reject);
    call.end(body);
  });
}
