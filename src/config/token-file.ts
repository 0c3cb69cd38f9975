import * as v from 'valibot';
import { printable } from './faults.ts';
import { readText } from './files.ts';
import type { Layer } from './layers.ts';
import { OPTIONS } from './options.ts';
import { combine, type Notice, TOKENS } from './resolve.ts';

const TOKEN_LIMIT_BYTES = 4 * 1024;

interface ReadToken {
  layer: Layer;
  notices: Notice[];
}

/** The tokens out of their files, as if they had been set where the paths were. */
export async function readTokenFiles(layer: Layer): Promise<ReadToken> {
  const read = await Promise.all(TOKENS.map((keys) => readTokenFile(layer, keys)));
  return { layer: combine(read.map((one) => one.layer)), notices: read.flatMap((one) => one.notices) };
}

async function readTokenFile({ found }: Layer, keys: (typeof TOKENS)[number]): Promise<ReadToken> {
  const set = found.get(keys.file);
  const transport = found.get('transport')?.value ?? OPTIONS.transport.default;
  // The Meeting API wants the token of Meeting also beside another transport.
  const used = transport === keys.transport || (keys.transport === 'meeting' && found.has('meeting.api.url'));
  if (set === undefined || !used) return { layer: combine([]), notices: [] };
  const { name, origin, source } = set;
  const path = String(set.value);
  const refuse = (allowed: string) => ({
    layer: {
      found: new Map(),
      refused: new Set([keys.token]),
      faults: [{ key: name, value: printable(path), allowed, source }],
    },
    notices: [],
  });

  const file = await readText(path, TOKEN_LIMIT_BYTES);
  if (file.state === 'absent') return refuse('the path of a file that exists');
  if (file.state === 'unusable') return refuse(`the path of ${file.expected}`);
  const { kind } = OPTIONS[keys.token];
  const token = v.safeParse(kind.schema, file.text.trim());
  if (!token.success) return refuse(`the path of a file that holds a token: ${kind.allowed}`);
  const sentence = `Everybody on this device can read the token in ${path}`;
  return {
    layer: {
      found: new Map([[keys.token, { value: token.output, name, origin, source }]]),
      refused: new Set(),
      faults: [],
    },
    notices: (file.mode & 0o007) === 0 ? [] : [{ code: 'config.exposed', sentence }],
  };
}
