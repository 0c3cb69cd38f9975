import { join } from 'node:path';
import t from 'tap';
import { openDataDir } from '../../../src/gateway/sql-store/data-dir.ts';
import type { Store } from '../../../src/gateway/store.ts';
import { MemoryStore } from '../memory-store.ts';
import { randomOf, step } from './churn.ts';
import { open, startStore } from './support.ts';

const ROUNDS = 20;
const SEED = Number(process.env.ZEROFORCE_TEST_SEED ?? 20261107);

t.test(
  'killed at any moment: all that was acknowledged is there, what was under way as a whole or not at all',
  async (t) => {
    const folder = join(t.testdir(), 'data');
    const random = randomOf(SEED);
    t.comment(`seed ${SEED}`);
    /** What must be there: a store in memory that goes through the same steps. */
    const model = new MemoryStore();
    let done = 0;
    let underWay = 0;
    for (let round = 0; round < ROUNDS; round += 1) {
      const child = await startStore(t);
      t.match(await child.ask('open', folder), { ok: true }, `round ${round}: the lock of the killed one is free`);
      child.tell('churn', { seed: SEED, from: done });
      const enough = done + Math.floor(random() * 100);
      let killed: Promise<void> | null = null;
      for (let number = await child.next(); number !== null; number = await child.next()) {
        if (number !== done) throw new Error(`step ${done} was acknowledged as ${String(number)}`);
        await step(model, SEED, done);
        done += 1;
        if (done < enough || killed !== null) continue;
        const delayMs = random() * 3;
        killed = new Promise((resolve) => setTimeout(resolve, delayMs)).then(() => child.kill());
      }
      await killed;

      const lock = await openDataDir(folder);
      const { store } = await open(folder);
      const found = await stateOf(store);
      if (found !== (await stateOf(model))) {
        await step(model, SEED, done);
        done += 1;
        underWay += 1;
        t.equal(found, await stateOf(model), `round ${round}: after step ${done}`);
      } else {
        t.pass(`round ${round}: after step ${done}`);
      }
      await store.close();
      lock.release();
    }
    t.comment(`${done} steps; ${underWay} times a step was whole and not yet acknowledged`);
    t.ok(done > ROUNDS * 20, `${done} steps`);
  },
);

/** All that is in a store, as one text. */
async function stateOf(store: Store): Promise<string> {
  const { devices, assignments, blockedPorts, leases, addresses } = await store.load();
  const lists: readonly (readonly unknown[])[] = [devices, assignments, blockedPorts, leases, addresses];
  return JSON.stringify([
    ...lists.map((list) => list.map(inOrder).sort()),
    (await store.auditOf(null, 500)).map(inOrder),
  ]);
}

function inOrder(value: unknown): string {
  return JSON.stringify(Object.entries(value as object).sort(([a], [b]) => (a < b ? -1 : 1)));
}
