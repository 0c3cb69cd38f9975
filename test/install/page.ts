import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';

/** The `sh` blocks of a page of docs/ below one heading (up to the next of the same or a higher level), in their order. */
export function commandsOf(page: string, heading: string): string[] {
  const text = readFileSync(resolve(import.meta.dirname, '../../../docs', page), 'utf8');
  const lines = text.split('\n');
  const from = lines.findIndex((line) => /^#+ /.test(line) && line.replace(/^#+ /, '') === heading);
  if (from === -1) throw new Error(`docs/${page} has no heading "${heading}"`);
  const level = /^#+/.exec(lines[from] ?? '')?.[0].length ?? 0;
  const rest = lines.slice(from + 1);
  const to = rest.findIndex((line) => (/^#+(?= )/.exec(line)?.[0].length ?? Number.POSITIVE_INFINITY) <= level);
  const section = (to === -1 ? rest : rest.slice(0, to)).join('\n');
  const blocks = [...section.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block = '']) => block);
  if (blocks.length === 0) throw new Error(`docs/${page} has no commands below "${heading}"`);
  return blocks;
}
