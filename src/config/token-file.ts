import * as v from 'valibot';
import { printable } from './faults.ts';
import { readText } from './files.ts';
import type { Layer } from './layers.ts';
import { OPTIONS } from './options.ts';
import { combine, type Notice } from './resolve.ts';

const TOKEN_LIMIT_BYTES = 4 * 1024;

/** The token out of its file, as if it had been set where the path was. */
export async function readTokenFile({ found }: Layer): Promise<{ layer: Layer; notices: Notice[] }> {
  const set = found.get('meeting.tokenFile');
  const unused = found.get('transport')?.value === 'none';
  if (set === undefined || unused) return { layer: combine([]), notices: [] };
  const { name, origin, source } = set;
  const path = String(set.value);
  const refuse = (allowed: string) => ({
    layer: {
      found: new Map(),
      refused: new Set(['meeting.token'] as const),
      faults: [{ key: name, value: printable(path), allowed, source }],
    },
    notices: [],
  });

  const file = await readText(path, TOKEN_LIMIT_BYTES);
  if (file.state === 'absent') return refuse('the path of a file that exists');
  if (file.state === 'unusable') return refuse(`the path of ${file.expected}`);
  const { kind } = OPTIONS['meeting.token'];
  const token = v.safeParse(kind.schema, file.text.trim());
  if (!token.success) return refuse(`the path of a file that holds a token: ${kind.allowed}`);
  const sentence = `Everybody on this device can read the token in ${path}`;
  return {
    layer: {
      found: new Map([['meeting.token', { value: token.output, name, origin, source }]]),
      refused: new Set(),
      faults: [],
    },
    notices: (file.mode & 0o007) === 0 ? [] : [{ code: 'config.exposed', sentence }],
  };
}
