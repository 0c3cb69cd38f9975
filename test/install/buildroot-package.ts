import { readdirSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { run } from '../support/processes.ts';

export const BOARD = resolve(import.meta.dirname, '../../../board');

export interface PackageOptions {
  readonly name: 'zeroforce-agent' | 'zeroforce-usbip';
  readonly init: 'SYSV' | 'OPENRC' | 'SYSTEMD';
  /** Options of Kconfig that are `y`. */
  readonly config?: readonly string[];
}

/**
 * Runs the build and install commands of a package's own .mk, as Buildroot does, by plain make. In the place of
 * Buildroot's infrastructure stand the few variables that the commands use; how it calls them is that of
 * package/pkg-generic.mk, with OpenRC taking the scripts of BusyBox where there is nothing for OpenRC.
 *
 * @param source the folder of what would have been fetched
 * @param target where it is installed to
 */
export async function installPackage(source: string, target: string, { name, init, config = [] }: PackageOptions) {
  const prefix = name.toUpperCase().replace('-', '_');
  const stamp = join(source, '.stamp_target_installed');
  const makefile = join(source, 'Makefile');
  await mkdir(target, { recursive: true });
  await writeFile(
    makefile,
    `INSTALL = install
SED = sed -i -e
TARGET_DIR = ${target}
BR2_EXTERNAL_ZEROFORCE_PATH = ${BOARD}
qstrip = $(strip $(subst ",,$(1)))
define sep


endef
generic-package =
${config.map((option) => `${option} = y\n`).join('')}
${prefix}_PKGDIR = ${BOARD}/package/${name}/
include ${BOARD}/package/${name}/${name}.mk

${stamp}:
	$(${prefix}_BUILD_CMDS)
	$(${prefix}_INSTALL_TARGET_CMDS)
	${init === 'OPENRC' ? `$(or $(${prefix}_INSTALL_INIT_OPENRC),$(${prefix}_INSTALL_INIT_SYSV))` : `$(${prefix}_INSTALL_INIT_${init})`}
`,
  );
  return run('make', ['-s', '-f', makefile, stamp], { env: { PATH: process.env.PATH, LC_ALL: 'C' } });
}

/** Every file, link and empty folder below, without the folder's own path, in order. */
export function listOf(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort();
}
