import { cleanText } from '../support/text.ts';
import type { Style } from './style.ts';

/** A cell: text, and how it stands out. What came over the network may be in it: it is cleaned here. */
export type Cell = string | number | null | { readonly text: string; readonly as: keyof Style };

const NOTHING = '-';
/** Thirty services with their ports. */
const LONGEST_CELL = 600;

/** Lines with aligned columns, the heads in bold. */
export function table(heads: readonly string[], rows: readonly (readonly Cell[])[], style: Style): string {
  const all = [heads.map((text): Cell => ({ text, as: 'strong' })), ...rows];
  const widths = heads.map((_, column) => Math.max(...all.map((row) => textOf(row[column] ?? null).length)));
  const last = heads.length - 1;
  return all
    .map((row) => {
      const cells = row.map((cell, column) => {
        const padding = ' '.repeat(column === last ? 0 : (widths[column] ?? 0) - textOf(cell).length);
        return painted(cell, style) + padding; // colours have no width
      });
      return `${cells.join('  ')}\n`;
    })
    .join('');
}

/** Lines `name: value`, the values aligned. */
export function list(rows: readonly (readonly [string, Cell])[], style: Style): string {
  const width = Math.max(...rows.map(([name]) => name.length)) + 1;
  return rows.map(([name, cell]) => `${`${name}:`.padEnd(width)} ${painted(cell, style)}\n`).join('');
}

function textOf(cell: Cell): string {
  const text = typeof cell === 'object' && cell !== null ? cell.text : String(cell ?? '');
  return cleanText(text, LONGEST_CELL) || NOTHING;
}

function painted(cell: Cell, style: Style): string {
  const text = textOf(cell);
  return typeof cell === 'object' && cell !== null ? style[cell.as](text) : text;
}

/** `2026-11-21 17:24:43`, UTC; empty where there is none, the text itself where it is no time. */
export function timeText(time: unknown): string {
  if (typeof time !== 'string' && typeof time !== 'number') return '';
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? String(time) : date.toISOString().slice(0, 19).replace('T', ' ');
}
