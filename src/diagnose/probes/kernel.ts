import { existsSync } from 'node:fs';
import { release } from 'node:os';
import { textOf } from '../../support/readable.ts';

/**
 * Whether a module is loaded, built in, or in a kernel that can load nothing. Only then may a program be asked that works
 * with it: where the module could be loaded and is not, to ask would load it.
 */
export function mayBeInKernel(name: string): boolean {
  const modules = `/lib/modules/${release()}`;
  if (!existsSync(modules) || lines('/proc/modules').some((line) => line.startsWith(`${name} `))) return true;
  return lines(`${modules}/modules.builtin`).some((line) => line.endsWith(`/${name}.ko`));
}

/** The lines of a file that are not empty; none where it is not there. */
export function lines(path: string): string[] {
  return textOf(path)
    .split('\n')
    .filter((line) => line !== '');
}
