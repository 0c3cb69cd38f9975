import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { startTunnelGateway, type TunnelGateway } from '../support/gateway.ts';

/** A folder that goes with the test. */
export async function temporaryFolder(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'zeroforce-gateway-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** A gateway that goes with the test, however it ends. */
export async function start(
  t: Test,
  folder: string,
  settings: Record<string, string> = {},
  args: string[] = [],
): Promise<TunnelGateway> {
  const gateway = await startTunnelGateway(folder, settings, { args });
  t.teardown(() => gateway.stop('SIGKILL'));
  return gateway;
}
