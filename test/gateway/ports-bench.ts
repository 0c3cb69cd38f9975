import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import type { Test } from 'tap';
import { PortPool, type PortRange } from '../../src/gateway/port-pool.ts';
import { PublicPorts, type PublicPortsOptions } from '../../src/gateway/public-ports.ts';
import type { Store } from '../../src/gateway/store.ts';
import type { AuditEntry, Device, EntryName } from '../../src/gateway/types.ts';
import { systemCode } from '../../src/support/failures.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { testLog } from '../support/test-log.ts';
import { FakeSession } from './fake-session.ts';
import { MemoryStore } from './memory-store.ts';
import { aDevice } from './samples.ts';

export const SSH = { name: 'ssh', localPort: 22 };
export const HTTP = { name: 'http', localPort: 80 };
/** Of the wall clock. */
export const START_MS = Date.UTC(2026, 10, 1);
export const LEASE_MS = 3600_000;

/** Below those that the system gives to outgoing connections. */
export const RANGE: PortRange = { start: 20_000, end: 20_009 };

/** A loopback address that no other test uses: on it, any port is free. */
export const ownAddress = () => `127.${randomInt(64, 250)}.${randomInt(256)}.${randomInt(1, 255)}`;

export const device = (key: string): Device => aDevice(key, { services: [SSH, HTTP] });

export const storeOf = (...keys: string[]) => new MemoryStore({ devices: keys.map(device) });

export interface PortsBench {
  ports: PublicPorts;
  pool: PortPool;
  host: string;
  clock: FakeClock;
  audit: Omit<AuditEntry, 'atMs'>[];
  log: ReturnType<typeof testLog>;
}

/** Public ports on an address of their own, with what is stored loaded; stopped at the end of the test. */
export async function startPorts(
  t: Test,
  { range = RANGE, ...options }: Partial<PublicPortsOptions> & { store: Store; range?: PortRange },
): Promise<PortsBench> {
  const { clock = new FakeClock(), bindHost = ownAddress(), pool = new PortPool(range) } = options;
  const log = testLog();
  const audit: Omit<AuditEntry, 'atMs'>[] = [];
  const defaults = {
    leaseMs: LEASE_MS,
    nowMs: () => START_MS + clock.nowMs(),
    log: log.log,
    audit: audit.push.bind(audit),
  };
  const ports = new PublicPorts({ ...defaults, ...options, pool, bindHost, clock });
  await ports.load(await options.store.load());
  t.teardown(() => ports.stop());
  return { ports, pool, host: bindHost, clock: clock as FakeClock, audit, log };
}

/** Connects as a technician does. */
export async function dial(host: string, port: number): Promise<Socket> {
  const socket = connect({ host, port, allowHalfOpen: true });
  socket.on('error', () => {});
  await once(socket, 'connect'); // rejects with the first error
  return socket;
}

/** What becomes of a connection: the kernel refuses it, it is closed without a word, or it stays open. */
export async function fate(host: string, port: number): Promise<'refused' | 'closed' | 'open'> {
  const socket = await dial(host, port).catch((error: unknown) => systemCode(error));
  if (socket === null || typeof socket === 'string') return socket === 'ECONNREFUSED' ? 'refused' : 'closed';
  const echo = await Promise.race([
    once(socket.end('?'), 'data').then(() => 'open' as const),
    once(socket, 'close').then(() => 'closed' as const),
  ]).catch(() => 'closed' as const);
  socket.destroy();
  return echo;
}

/** Lets a clock that stands still go on, as fast as the work allows, until the promise is settled. */
export async function passing<T>(clock: FakeClock, promise: Promise<T>, stepMs = 50): Promise<T> {
  const settled = Promise.allSettled([promise]).then(() => 'settled');
  while ((await Promise.race([settled, turns()])) !== 'settled') clock.advance(stepMs);
  return promise;
}

/** Enough turns of the event loop for one attempt to listen. */
async function turns(): Promise<void> {
  for (let count = 0; count < 5; count += 1) await turn();
}

/** A session that sends back what it is sent, online from now on. */
export function come(ports: PublicPorts, deviceKey: string, entry: EntryName = 'agent'): FakeSession {
  const session = new FakeSession(deviceKey, entry);
  session.echo = true;
  ports.online(session);
  return session;
}
