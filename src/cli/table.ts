import { cleanText } from '../support/text.ts';
import type { Style } from './style.ts';

/** A cell: text, and how it stands out. What came over the network may be in it: it is cleaned here. */
export type Cell = string | number | null | { readonly text: string; readonly as: keyof Style };

const NOTHING = '-';
const LONGEST_CELL = 120;

/** Lines with aligned columns, the heads in bold; without a line for nothing. */
export function table(heads: readonly string[], rows: readonly (readonly Cell[])[], style: Style): string {
  const texts = rows.map((row) => row.map(textOf));
  const widths = heads.map((head, column) => Math.max(head.length, ...texts.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[], paint: (text: string, column: number) => string) =>
    // The last column is not padded, and colours must not count as width.
    `${cells.map((text, column) => paint(text, column) + pad(text, column, widths)).join('  ')}\n`.replace(
      / +\n$/,
      '\n',
    );
  const head = line(heads, (text) => style.strong(text));
  const body = rows.map((row, index) =>
    line(texts[index] ?? [], (text, column) => {
      const cell = row[column];
      return typeof cell === 'object' && cell !== null ? style[cell.as](text) : text;
    }),
  );
  return head + body.join('');
}

const pad = (text: string, column: number, widths: readonly number[]) =>
  column === widths.length - 1 ? '' : ' '.repeat((widths[column] ?? 0) - text.length);

function textOf(cell: Cell): string {
  const text = typeof cell === 'object' && cell !== null ? cell.text : String(cell ?? '');
  return cleanText(text, LONGEST_CELL) || NOTHING;
}

/** Lines `name: value`, the values aligned. */
export function list(rows: readonly (readonly [string, Cell])[], style: Style): string {
  const width = Math.max(...rows.map(([name]) => name.length)) + 1;
  return rows
    .map(([name, cell]) => {
      const text = textOf(cell);
      const painted = typeof cell === 'object' && cell !== null ? style[cell.as](text) : text;
      return `${`${name}:`.padEnd(width)} ${painted}\n`;
    })
    .join('');
}

/** `2026-11-21 17:24:43`, UTC; the text itself where it is no time. */
export function timeText(time: unknown): string {
  if (typeof time !== 'string' && typeof time !== 'number') return '';
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? String(time) : date.toISOString().slice(0, 19).replace('T', ' ');
}
