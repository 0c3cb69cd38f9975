import { dirname, join } from 'node:path';
import { judgeAt } from './application.ts';
import { isProgram, readText } from './machine.ts';
import type { Part } from './model.ts';
import { mentionedPrograms, roleOfName } from './recognise.ts';

/** Scripts that start scripts. */
const MAX_DEPTH = 3;

/** What a text of an init system starts: what of the deployed software, and what else. */
export interface Starts {
  readonly parts: Part[];
  readonly others: string[];
}

/**
 * Looks at every program that a text mentions. Data and folders are no programs; a program that serves pairing is known
 * by its source.
 */
export function startsOf(text: string, depth = 0): Starts {
  const parts = new Map<string, Part>();
  const others: string[] = [];
  const folder = workingFolder(text);
  for (const program of mentionedPrograms(text)) {
    const path = program.startsWith('/') ? program : join(folder, program.replace(/^.*\//, ''));
    const known = roleOfName(program);
    const app = known === null && path.endsWith('.py') ? judgeAt(path) : null;
    const role = known ?? app?.role ?? null;
    if (role !== null) parts.set(`${role} ${path}`, { role, program: known === null ? path : program });
    else if (isProgram(path) || program.includes('$')) {
      const inside = depth < MAX_DEPTH ? startsOf(shellText(path), depth + 1) : { parts: [], others: [] };
      for (const part of inside.parts) parts.set(`${part.role} ${part.program}`, part);
      others.push(...(inside.parts.length > 0 ? inside.others : [program]));
    }
  }
  return { parts: [...parts.values()], others: [...new Set(others)] };
}

/** A shell script, which may start others in turn; empty for all else. */
function shellText(path: string): string {
  const text = readText(path) ?? '';
  return /^#!.*\b(?:ba|da|a)?sh\b/.test(text) ? text : '';
}

/** Where names without a folder are looked for. */
function workingFolder(text: string): string {
  const named = /^(?:WorkingDirectory=|\s*(?:cd|directory=)\s*["']?)(\/[^\s"';&]+)/m.exec(text)?.[1];
  const first = /(\/(?:opt|home|root|srv|usr\/local)\/[\w.@/-]+)/.exec(text)?.[1];
  return named ?? (first === undefined ? '/' : dirname(first));
}
