import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { type CoreParts, createCore } from '../../src/gateway/core.ts';
import { Secrets } from '../../src/gateway/secrets.ts';
import type { Device } from '../../src/gateway/types.ts';
import type { Clock } from '../../src/support/clock.ts';
import { systemClock } from '../../src/support/clock.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { testLog } from '../support/test-log.ts';
import { MemoryStore } from './memory-store.ts';

/** Saturday, 21 November 2026, 12:00 UTC. */
export const WALL_MS = Date.UTC(2026, 10, 21, 12);

/** The wall clock beside a fake clock: it moves with it. */
export function wallOf(clock: FakeClock): () => number {
  const startMs = clock.nowMs();
  return () => WALL_MS + clock.nowMs() - startMs;
}

export async function makeSecrets(t: Pick<Test, 'teardown'>): Promise<Secrets> {
  const folder = mkdtempSync(join(tmpdir(), 'zeroforce-gateway-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return Secrets.open(folder);
}

/** An address of its own for each process: what runs beside it, and connections of others, take none of its ports. */
const bindHost = `127.77.${(process.pid >> 8) & 255}.${process.pid & 255}`;

const CONFIG: CoreParts['config'] = {
  bindHost,
  portRange: { start: 20_000, end: 29_999 },
  leaseMs: 3600_000,
  connectionRate: 10,
  maxPending: 50,
};

/** A core over the store in memory, loaded; its time is the test's unless a clock is given. */
export async function makeCore(
  t: Pick<Test, 'teardown'>,
  options: Partial<Pick<CoreParts, 'config'>> & { store?: MemoryStore; secrets?: Secrets; realTime?: true } = {},
) {
  const { config = CONFIG, store = new MemoryStore(), realTime } = options;
  const secrets = options.secrets ?? (await makeSecrets(t));
  const fake = new FakeClock();
  const clock: Clock = realTime ? systemClock : fake;
  const nowMs = realTime ? () => Date.now() : wallOf(fake);
  const { log, lines, has } = testLog();
  const core = createCore({ store, secrets, config, clock, nowMs, log });
  await core.load();
  t.teardown(() => core.stop());
  const { host, operations } = core;
  const create = (key: string, tokenCode = `${key} has a long token`): Promise<Device> =>
    operations.create({ key, tokenCode, type: 'camera', distribution: 'buildroot', productSerial: null });
  return { core, host, operations, config, store, secrets, clock: fake, nowMs, lines, has, create };
}

/** Lets everything happen that waits for no clock. */
export const settled = async () => {
  for (let i = 0; i < 5; i += 1) await new Promise<void>((resolve) => setImmediate(resolve));
};
