import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { copyFile, mkdir } from 'node:fs/promises';
import { arch, platform, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

/** What every current Buildroot ships. */
export const DEVICE_NODE = '22.22.0';
const INSTALL_MS = 5 * 60_000;

export interface NodeVersion {
  /** For the tables: `Node 22.22.0`. */
  name: string;
  /** The folder of the program `node`, for the front of PATH. */
  folder: string;
}

/** Where `installDeviceNode` puts the program; there or not. */
export const DEVICE_NODE_FOLDER = join(
  tmpdir(),
  `zeroforce-nodes/${DEVICE_NODE}/node_modules/node-${platform()}-${arch()}/bin`,
);

export function runningNode(): NodeVersion {
  return { name: `Node ${process.versions.node}`, folder: dirname(process.execPath) };
}

/** A copy that no other process has mapped: pages that two share would count as a half. */
export async function copyNode({ name, folder }: NodeVersion, to: string): Promise<NodeVersion> {
  await mkdir(to, { recursive: true });
  await copyFile(join(folder, 'node'), join(to, 'node'));
  return { name, folder: to };
}

/**
 * The Node of the devices, out of the npm package that holds it. It is kept outside the checkout, for the next time.
 * @returns null where it cannot be had, with the reason on stderr
 */
export async function installDeviceNode(): Promise<NodeVersion | null> {
  const name = `Node ${DEVICE_NODE}`;
  if (!existsSync(join(DEVICE_NODE_FOLDER, 'node'))) {
    const prefix = join(DEVICE_NODE_FOLDER, '../../..');
    const wanted = `node-${platform()}-${arch()}@${DEVICE_NODE}`;
    process.stderr.write(`installing ${wanted} below ${prefix} …\n`);
    await mkdir(prefix, { recursive: true });
    const args = ['install', '--no-save', '--ignore-scripts', '--no-audit', '--no-fund', '--prefix', prefix, wanted];
    try {
      await promisify(execFile)('npm', args, { timeout: INSTALL_MS });
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      process.stderr.write(`${name} is left out, because npm could not install ${wanted}: ${why}\n`);
      return null;
    }
  }
  return { name, folder: DEVICE_NODE_FOLDER };
}
