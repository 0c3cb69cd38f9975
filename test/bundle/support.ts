import { existsSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import wholeFile, { type Test } from 'tap';
import { cachedNodes, type NodeVersion, runningNode } from '../../bench/node-versions.ts';
import { bundle } from '../../scripts/bundle.ts';
import { temporaryFolder } from '../device/support.ts';

/** The Nodes of devices that the cache holds, else the one that runs the tests; by name, with its folder. */
export const NODES: readonly (readonly [string, string])[] = nodes().map(({ name, folder }) => [name, folder]);

/** The program as it is installed: two files in a folder of their own, with no packages in reach. */
export async function installed(t: Test): Promise<{ folder: string; launcher: string; program: string }> {
  const folder = join(temporaryFolder(t), 'installed');
  for (let above = folder; above !== dirname(above); above = dirname(above)) {
    if (existsSync(join(above, 'node_modules'))) throw new Error(`packages are in reach: ${above}/node_modules`);
  }
  built ??= bundle(join(temporaryFolder(wholeFile), 'tunnel-agent.cjs'));
  await cp(dirname(await built), folder, { recursive: true });
  return { folder, program: join(folder, 'tunnel-agent.cjs'), launcher: join(folder, 'tunnel-agent') };
}

/** Once for all tests of a file. */
let built: Promise<string> | null = null;

/** For `startService`: runs this launcher with this Node, instead of that of the checkout, and nowhere near to it. */
export function runInstead(launcher: string, nodeFolder: string): string[] {
  const script = `shift; cd "$(dirname "${launcher}")/.."; PATH="${nodeFolder}:$PATH" exec "${launcher}" "$@"`;
  return ['sh', '-c', script, 'sh'];
}

function nodes(): NodeVersion[] {
  const cached = cachedNodes();
  return cached.length > 0 ? cached : [runningNode()];
}
