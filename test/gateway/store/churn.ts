import type { Store } from '../../../src/gateway/store.ts';
import { Failure } from '../../../src/support/failures.ts';
import { aDevice, anEntry } from '../samples.ts';

/**
 * One decision or observation out of those that a gateway makes, always the same for the same number: done on two
 * stores of the same state, it leaves two of the same state. What the store refuses by its rules is a step, too.
 */
export async function step(store: Store, seed: number, number: number): Promise<void> {
  const random = randomOf(seed * 100_003 + number);
  const pick = (count: number) => Math.floor(random() * count);
  const key = `d${pick(12)}`;
  const service = ['ssh', 'http', 'vnc'][pick(3)] ?? '';
  try {
    switch (pick(9)) {
      case 0:
      case 1:
        return await store.insertDevice(
          aDevice(key, { tokenCodeHash: `t${number}`, publicKey: 'k'.repeat(pick(9000)) }),
        );
      case 2:
        return await store.updateDevice(key, { pausedUntilMs: number, tunnelTokenHash: `t${pick(50)}` });
      case 3:
        return await store.setServices(key, [{ name: 'ssh', localPort: number }], [service]);
      case 4:
        return await store.assignPort({ deviceKey: key, service, port: 1000 + pick(40) });
      case 5: {
        const old = (await store.load()).assignments.find((one) => one.deviceKey === key && one.service === service);
        if (old === undefined) return;
        const instead = { oldPort: old.port, atMs: number };
        return await store.assignPort({ deviceKey: key, service, port: 2000 + number }, instead);
      }
      case 6:
        return await store.putLease({ deviceKey: key, name: service, localPort: 22, expiresAtMs: number });
      case 7:
        if (pick(4) === 0) await store.deleteDevice(key);
        return;
      default: {
        const audit = Array.from({ length: 5 }, (_, at) => anEntry(key, number, { detail: { number, at } }));
        const addresses = [{ deviceKey: key, address: `192.0.2.${pick(40)}`, atMs: number }];
        return await store.observe({ audit, addresses, seen: [{ key, lastSeenAtMs: number }] });
      }
    }
  } catch (error) {
    if (error instanceof Failure && error.code !== 'gateway.store-failed') return;
    throw error;
  }
}

/** mulberry32: small, and the same everywhere. */
export function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
