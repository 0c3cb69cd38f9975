import { existsSync } from 'node:fs';
import { copyFile, mkdir } from 'node:fs/promises';
import { arch } from 'node:os';
import { dirname, join } from 'node:path';

/** What every current Buildroot ships. */
export const DEVICE_NODE = '22.22.0';
/** For x64; those for arm64 differ where the registry lacks one (scripts/test-nodes.sh). */
const OTHERS: Record<string, readonly string[]> = {
  x64: ['20.19.2', DEVICE_NODE, '24.21.0'],
  arm64: ['20.19.0', '22.20.0', '24.22.0'],
};

export interface NodeVersion {
  /** For the tables: `Node 22.22.0`. */
  name: string;
  /** The folder of the program `node`, for the front of PATH. */
  folder: string;
}

/** Where `scripts/test-nodes.sh` puts it; there or not. */
const cacheFolder = (cpu: string, version: string) =>
  join(process.env.ZEROFORCE_TEST_CACHE ?? '/var/cache/zeroforce-test', `node-${cpu}-${version}/bin`);

/** The Nodes that devices have, as far as they are in the cache, for this kind of processor or another. */
export function cachedNodes(cpu = arch()): NodeVersion[] {
  return (OTHERS[cpu] ?? [])
    .map((version) => ({ name: `Node ${version}`, folder: cacheFolder(cpu, version) }))
    .filter(({ folder }) => existsSync(join(folder, 'node')));
}

/** @returns null where it is not there, with the reason on stderr */
export function deviceNode(): NodeVersion | null {
  const found = cachedNodes().find(({ name }) => name === `Node ${DEVICE_NODE}`) ?? null;
  if (found === null) process.stderr.write(`Node ${DEVICE_NODE} is left out: scripts/test-nodes.sh could not get it\n`);
  return found;
}

export function runningNode(): NodeVersion {
  return { name: `Node ${process.versions.node}`, folder: dirname(process.execPath) };
}

/** A copy that no other process has mapped: pages that two share would count as a half. */
export async function copyNode({ name, folder }: NodeVersion, to: string): Promise<NodeVersion> {
  await mkdir(to, { recursive: true });
  await copyFile(join(folder, 'node'), join(to, 'node'));
  return { name, folder: to };
}
