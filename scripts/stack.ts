/**
 * `node build/scripts/stack.js MAP <LOG`: prints the log of a bundled program again, with the places in its stack traces
 * said as those of the sources. MAP is the source map that was made with that very version (docs/bundle.md).
 */
import { readFileSync } from 'node:fs';
import { SourceMap, type SourceMapPayload } from 'node:module';

/** `/usr/lib/zeroforce/tunnel-agent.cjs:12:3456` */
const PLACE = /[^\s("]*tunnel-(?:agent|gateway)\.cjs:(\d+):(\d+)/g;

/** @param map as esbuild writes it: its sources are said from the folder dist/ */
export function sourcePlaces(map: SourceMapPayload, text: string): string {
  const sources = new SourceMap(map);
  return text.replace(PLACE, (place, line: string, column: string) => {
    const found = sources.findEntry(Number(line) - 1, Number(column) - 1);
    if (!('originalSource' in found)) return place;
    const { originalSource, originalLine, originalColumn } = found;
    return `${originalSource.replace(/^(\.\.\/)+/, '')}:${originalLine + 1}:${originalColumn + 1}`;
  });
}

if (process.argv[1] === import.meta.filename) {
  const [, , path] = process.argv;
  if (path === undefined) throw new Error('say which source map: node build/scripts/stack.js MAP <LOG');
  const map = JSON.parse(readFileSync(path, 'utf8')) as SourceMapPayload;
  process.stdout.write(sourcePlaces(map, readFileSync(0, 'utf8')));
}
