import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Metafile } from 'esbuild';

/** What the text of a licence is called in a package. */
const FILE = /^(licen[cs]e|copying|notice)(\.(md|txt|markdown))?$/i;
/** In the packages that have no such file, the licence is a section of the README, the last one. */
const SECTION = /^#+ licen[cs]e\s*$/im;

interface Package {
  readonly name: string;
  readonly version: string;
  readonly text: string;
}

/**
 * The text of the licence of every package that a program holds, by name.
 * @param root the folder that the paths of the metafile start from
 * @throws Error naming every package that has no text of a licence: it may not be given away
 */
export async function licences({ inputs }: Metafile, root: string): Promise<string> {
  const packages = packageFolders(inputs).map((folder) => read(join(root, folder)));
  const without = packages.filter(({ text }) => text === '').map(({ name, version }) => `${name} ${version}`);
  if (without.length > 0) throw new Error(`no text of a licence in: ${without.join(', ')}`);
  const sorted = packages.sort((a, b) => compare(`${a.name} ${a.version}`, `${b.name} ${b.version}`));
  const parts = sorted.map(({ name, version, text }) => `${'='.repeat(80)}\n${name} ${version}\n\n${text}\n`);
  return `The packages in this program, and their licences.\n\n${parts.join('\n')}`;
}

/** The folders of packages that the inputs lie in, each once. */
export function packageFolders(inputs: Metafile['inputs']): string[] {
  const folders = Object.keys(inputs).map((path) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0]);
  return [...new Set(folders.filter((folder) => folder !== undefined))];
}

function read(folder: string): Package {
  const { name, version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Package;
  const files = readdirSync(folder).sort(compare);
  const texts = files.filter((file) => FILE.test(file)).map((file) => readFileSync(join(folder, file), 'utf8').trim());
  return { name, version, text: texts.length > 0 ? texts.join('\n\n') : readmeSection(folder, files) };
}

function readmeSection(folder: string, files: readonly string[]): string {
  const readme = files.find((file) => /^readme/i.test(file));
  if (readme === undefined) return '';
  const [, ...sections] = readFileSync(join(folder, readme), 'utf8').split(SECTION);
  // A single line only names a licence; the text of one grants something.
  const text = sections.at(-1)?.trim() ?? '';
  return /permission/i.test(text) ? text : '';
}

/** By code unit: the same on every machine. */
function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}
