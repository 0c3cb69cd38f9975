import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmod, copyFile, mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** A file of a package. Its path begins at the root of the device, without the slash. */
export type Content = { path: string; mode?: number } & (
  | { text: string }
  /** A file of this machine. */
  | { from: string }
  | { link: string }
);

export interface DebianPackage {
  name: string;
  version: string;
  architecture: 'all' | 'amd64' | 'arm64';
  /** Further fields of deb-control(5): Depends and the like. */
  fields: Readonly<Record<string, string>>;
  /** The synopsis, and paragraphs of at most 80 columns. */
  description: readonly [synopsis: string, ...paragraphs: string[]];
  contents: readonly Content[];
  /** Maintainer scripts and triggers, by their names, as paths of this machine. */
  control: Readonly<Record<string, string>>;
}

export interface BuildOptions {
  outFolder: string;
  /** Of every file and of the archive: nothing tells when it was made. */
  epochSeconds: number;
  /** `none` for tests: to compress Node takes a minute. */
  compression: 'xz' | 'none';
}

const MAINTAINER = 'zeroforce maintainers <maintainers@zeroforce.invalid>';

/**
 * Makes `NAME_VERSION_ARCHITECTURE.deb` without being root: byte for byte the same from the same files.
 * @returns its path
 * @throws Error of dpkg-deb, with what it said
 */
export async function buildPackage(made: DebianPackage, options: BuildOptions): Promise<string> {
  const stage = await mkdtemp(join(tmpdir(), 'zeroforce-deb-'));
  try {
    const tree = join(stage, 'tree');
    await mkdir(tree);
    for (const content of made.contents) await place(tree, content);
    await describe(tree, made);
    await publicFolders(tree);
    const file = `${made.name}_${made.version}_${made.architecture}.deb`;
    // One thread: several cut the text into blocks, by the memory of the machine.
    const how = ['--root-owner-group', `-Z${options.compression}`, '--threads-max=1'];
    const env = { ...process.env, SOURCE_DATE_EPOCH: String(options.epochSeconds), LC_ALL: 'C' };
    await run('dpkg-deb', [...how, '--build', tree, join(stage, file)], { env });
    await mkdir(options.outFolder, { recursive: true });
    const unfinished = join(options.outFolder, `${file}.part`);
    await copyFile(join(stage, file), unfinished);
    await rename(unfinished, join(options.outFolder, file));
    return join(options.outFolder, file);
  } finally {
    await rm(stage, { recursive: true, force: true });
  }
}

/** Compressed as Debian wants its documents: without name and time, by a program that does it alike everywhere. */
export async function gzipped(text: string): Promise<Buffer> {
  const child = run('gzip', ['-9n'], { encoding: 'buffer' });
  child.child.stdin?.end(text);
  return (await child).stdout;
}

async function place(tree: string, content: Content): Promise<void> {
  const path = join(tree, content.path);
  await mkdir(dirname(path), { recursive: true });
  if ('link' in content) return symlink(content.link, path);
  if ('from' in content) await copyFile(content.from, path);
  else await writeFile(path, path.endsWith('.gz') ? await gzipped(content.text) : content.text);
  await chmod(path, content.mode ?? 0o644);
}

async function describe(tree: string, { control, contents, ...made }: DebianPackage): Promise<void> {
  const folder = join(tree, 'DEBIAN');
  const files = (await readdir(tree, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(tree.length + 1))
    .sort();
  await mkdir(folder);
  let bytes = 0;
  let sums = '';
  for (const file of files) {
    const data = await readFile(join(tree, file));
    bytes += Math.ceil(data.length / 1024) * 1024;
    sums += `${createHash('md5').update(data).digest('hex')}  ${file}\n`;
  }
  await writeFile(join(folder, 'md5sums'), sums, { mode: 0o644 });
  await writeFile(join(folder, 'control'), controlText(made, Math.ceil(bytes / 1024)), { mode: 0o644 });
  const conffiles = contents.filter(({ path }) => path.startsWith('etc/')).map(({ path }) => `/${path}\n`);
  if (conffiles.length > 0) await writeFile(join(folder, 'conffiles'), conffiles.join(''), { mode: 0o644 });
  for (const [name, from] of Object.entries(control)) {
    await copyFile(from, join(folder, name));
    await chmod(join(folder, name), name === 'triggers' ? 0o644 : 0o755);
  }
}

function controlText(
  { name, version, architecture, fields, description }: Omit<DebianPackage, 'contents' | 'control'>,
  kib: number,
): string {
  const [synopsis, ...paragraphs] = description;
  const all = {
    Package: name,
    Version: version,
    Section: 'net',
    Priority: 'optional',
    Architecture: architecture,
    Maintainer: MAINTAINER,
    'Installed-Size': String(kib),
    ...fields,
    Description: synopsis,
  };
  const lines = Object.entries(all).map(([field, value]) => `${field}: ${value}\n`);
  const long = paragraphs
    .join('\n\n')
    .split('\n')
    .map((line) => ` ${line === '' ? '.' : line}\n`);
  return [...lines, ...long].join('');
}

/** The changelog that Debian's tools read, of this one version. */
export function changelogText(
  { name, version }: Pick<DebianPackage, 'name' | 'version'>,
  changes: readonly string[],
  epochSeconds: number,
): string {
  const date = new Date(epochSeconds * 1000).toUTCString().replace('GMT', '+0000');
  const items = changes.map((change) => `  * ${wrapped(change, 76).join('\n    ')}\n`).join('');
  return `${name} (${version}) stable; urgency=medium\n\n${items}\n -- ${MAINTAINER}  ${date}\n`;
}

function wrapped(text: string, columns: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(/\s+/)) {
    const longer = lines.length === 0 ? word : `${lines.at(-1)} ${word}`;
    if (lines.length > 0 && longer.length <= columns) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

async function publicFolders(tree: string): Promise<void> {
  await chmod(tree, 0o755);
  for (const entry of await readdir(tree, { recursive: true, withFileTypes: true })) {
    if (entry.isDirectory()) await chmod(join(entry.parentPath, entry.name), 0o755);
  }
}
