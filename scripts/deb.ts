/**
 * `make deb`: the packages for Debian 12, 13 and Raspberry Pi OS, into dist/. It needs dpkg-deb and gzip, for
 * `zeroforce-node` npm and a strip for each architecture, and no root. What stands in them: docs/install/debian-packages.md.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import pkg from '../package.json' with { type: 'json' };
import { type BuildOptions, buildPackage } from './deb/build-package.ts';
import { CARRIED_NODE_EPOCH, type NodeArchitecture } from './deb/carried-node.ts';
import { agentPackage, gatewayPackage, nodePackage } from './deb/packages.ts';

const root = resolve(import.meta.dirname, '../..');

export interface DebOptions {
  outFolder?: string;
  /** What the programs call themselves; for tests of upgrades. */
  version?: string;
  compression?: BuildOptions['compression'];
}

/** @returns the path of `zeroforce_VERSION_all.deb` */
export function agentDeb(options: DebOptions = {}): Promise<string> {
  return made(options, (making) => agentPackage(making));
}

/** @returns the path of `zeroforce-gateway_VERSION_amd64.deb` */
export function gatewayDeb(options: DebOptions = {}): Promise<string> {
  return made(options, (making) => gatewayPackage(making));
}

/** @returns the path of `zeroforce-node_NODE_ARCHITECTURE.deb` */
export function nodeDeb(architecture: NodeArchitecture, options: DebOptions = {}): Promise<string> {
  return made(options, ({ stage }) => nodePackage(architecture, stage), CARRIED_NODE_EPOCH);
}

async function made(
  { outFolder = resolve(root, 'dist'), version = pkg.version, compression = 'xz' }: DebOptions,
  make: (making: Parameters<typeof agentPackage>[0]) => ReturnType<typeof agentPackage>,
  epoch?: number,
): Promise<string> {
  const epochSeconds = epoch ?? (await lastChange());
  const stage = await mkdtemp(join(tmpdir(), 'zeroforce-deb-stage-'));
  try {
    return await buildPackage(await make({ version, epochSeconds, stage }), { outFolder, epochSeconds, compression });
  } finally {
    await rm(stage, { recursive: true, force: true });
  }
}

/** SOURCE_DATE_EPOCH, else the time of the last commit; without git, always the same. */
async function lastChange(): Promise<number> {
  const given = Number(process.env.SOURCE_DATE_EPOCH);
  if (given > 0) return given;
  const log = await promisify(execFile)('git', ['log', '-1', '--format=%ct'], { cwd: root }).catch(() => null);
  return Number(log?.stdout.trim() ?? 0) || CARRIED_NODE_EPOCH;
}

if (process.argv[1] === import.meta.filename) {
  for (const deb of [agentDeb, gatewayDeb, () => nodeDeb('amd64'), () => nodeDeb('arm64')]) {
    process.stdout.write(`${await deb()}\n`);
  }
}
