import { request } from 'node:http';
import { systemCode } from '../../support/failures.ts';
import type { Facts } from '../facts.ts';

/** How a route of this machine answers. */
export type HttpAnswer =
  | { readonly kind: 'answered'; readonly status: number; readonly text: string }
  | { readonly kind: 'failed'; readonly code: string }
  | { readonly kind: 'silent' };

const MAX_CHARACTERS = 2_000;

/** `GET path` over this machine itself, within `timeoutMs`. Never rejects. */
export function httpGet(
  facts: Facts,
  { host, port, path, timeoutMs }: { host: string; port: number; path: string; timeoutMs: number },
): Promise<HttpAnswer> {
  return new Promise((resolve) => {
    const settle = (answer: HttpAnswer) => {
      cancel();
      call.destroy();
      resolve(answer);
    };
    const call = request({ host, port, path, agent: false, signal: facts.signal }, (response) => {
      let text = '';
      const ended = () => settle({ kind: 'answered', status: response.statusCode ?? 0, text });
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text = (text + chunk).slice(0, MAX_CHARACTERS);
        if (text.length === MAX_CHARACTERS) ended();
      });
      response.on('end', ended);
      response.on('error', ended);
    });
    const cancel = facts.clock.after(timeoutMs, () => settle({ kind: 'silent' }));
    call.on('error', (error) => settle({ kind: 'failed', code: systemCode(error) ?? error.message }));
    call.end();
  });
}
