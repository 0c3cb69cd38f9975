import fc from 'fast-check';
import t from 'tap';
import { PortPool } from '../../src/gateway/port-pool.ts';

const RANGE = { start: 40_000, end: 40_004 };
const at = (deviceKey: string, service: string, port: number) => ({ deviceKey, service, port });

t.test('the lowest free port comes first, and stays that of the service', async (t) => {
  const pool = new PortPool(RANGE);
  t.equal(pool.assign('a', 'ssh'), 40_000);
  t.equal(pool.assign('a', 'http'), 40_001);
  t.equal(pool.assign('b', 'ssh'), 40_002);
  t.equal(pool.assign('a', 'ssh'), 40_000);
  t.strictSame([pool.portOf('a', 'http'), pool.portOf('a', 'vnc'), pool.portOf('c', 'ssh')], [40_001, null, null]);
  t.strictSame(pool.owner(40_001), { deviceKey: 'a', service: 'http' });
  t.strictSame(
    [...pool.servicesOf('a')],
    [
      ['ssh', 40_000],
      ['http', 40_001],
    ],
  );
});

t.test('the end of the range is part of it, and then there is none', async (t) => {
  const pool = new PortPool(RANGE);
  const ports = ['a', 'b', 'c', 'd', 'e', 'f'].map((key) => pool.assign(key, 'ssh'));
  t.strictSame(ports, [40_000, 40_001, 40_002, 40_003, 40_004, null]);
  t.equal(pool.full, true);
  t.equal(pool.replace('a', 'ssh'), null, 'nothing to replace it by');
  t.equal(pool.portOf('a', 'ssh'), 40_000);
  pool.releaseService('c', 'ssh');
  t.equal(pool.full, false);
  t.equal(pool.assign('f', 'ssh'), 40_002, 'a freed port can be reassigned to another device');
});

t.test(
  'a port that was somebody’s is given out again last, and of those the one that is free for longest',
  async (t) => {
    const pool = new PortPool(RANGE);
    for (const service of ['ssh', 'http', 'vnc']) pool.assign('a', service);
    pool.releaseService('a', 'http');
    pool.releaseService('a', 'ssh');
    pool.withdraw('a', 'vnc');
    const ports = ['b', 'c', 'd', 'e', 'f', 'g'].map((key) => pool.assign(key, 'ssh'));
    t.strictSame(ports, [40_002, 40_003, 40_004, 40_001, 40_000, null]);
  },
);

t.test('ports of our own, and ports to be avoided, are passed over', async (t) => {
  const pool = new PortPool(RANGE, [40_000, 40_003]);
  t.equal(
    pool.assign('a', 'ssh', (port) => port === 40_001),
    40_002,
  );
  t.equal(pool.assign('b', 'ssh'), 40_001, 'avoided once is not taken');
  t.equal(pool.assign('c', 'ssh'), 40_004);
  t.equal(pool.assign('d', 'ssh'), null);
});

t.test('stored assignments are reserved, also outside of a range that was narrowed since', async (t) => {
  const pool = new PortPool(RANGE);
  t.strictSame(pool.load([at('a', 'ssh', 40_000), at('b', 'ssh', 45_000), at('c', 'ssh', 300)], [40_001]), []);
  t.equal(pool.assign('b', 'ssh'), 45_000);
  t.equal(pool.assign('c', 'ssh'), 300);
  t.equal(pool.assign('d', 'ssh'), 40_002, 'neither the reserved nor the blocked one');
  pool.releaseService('c', 'ssh');
  t.equal(pool.assign('e', 'ssh'), 40_003, 'one from outside is not given again');
});

t.test(
  'a damaged store, or a port of our own: the first keeps its port, the others get another and are told',
  async (t) => {
    const pool = new PortPool(RANGE, [50_000]);
    const moved = pool.load(
      [
        at('a', 'ssh', 40_000),
        at('b', 'ssh', 40_000),
        at('c', 'ssh', 40_001),
        at('d', 'ssh', 0),
        at('own', 'ssh', 50_000),
        at('e', 'ssh', 70_000),
        at('f', 'ssh', 40_002.5),
        at('g', 'ssh', 40_000),
      ],
      [40_001],
    );
    t.strictSame(moved, [
      { deviceKey: 'b', service: 'ssh', oldPort: 40_000, newPort: 40_002 },
      { deviceKey: 'c', service: 'ssh', oldPort: 40_001, newPort: 40_003 },
      { deviceKey: 'd', service: 'ssh', oldPort: 0, newPort: 40_004 },
      { deviceKey: 'own', service: 'ssh', oldPort: 50_000, newPort: null },
      { deviceKey: 'e', service: 'ssh', oldPort: 70_000, newPort: null },
      { deviceKey: 'f', service: 'ssh', oldPort: 40_002.5, newPort: null },
      { deviceKey: 'g', service: 'ssh', oldPort: 40_000, newPort: null },
    ]);
    t.equal(pool.portOf('a', 'ssh'), 40_000);
    t.strictSame(pool.owner(40_000), { deviceKey: 'a', service: 'ssh' });
  },
);

t.test('a replaced port is given to nobody until it is unblocked', async (t) => {
  const pool = new PortPool(RANGE);
  pool.assign('a', 'ssh');
  t.strictSame(pool.replace('a', 'ssh'), { oldPort: 40_000, newPort: 40_001 });
  t.equal(pool.portOf('a', 'ssh'), 40_001);
  t.equal(pool.owner(40_000), null);
  t.equal(pool.assign('b', 'ssh'), 40_002);
  t.equal(pool.replace('nobody', 'ssh'), null);
  t.equal(pool.unblock(40_000), true);
  t.equal(pool.unblock(40_000), false);
  t.equal(pool.assign('c', 'ssh'), 40_000);
});

t.test(
  'a replacement that could not be kept is undone, but not for a service that was dropped meanwhile',
  async (t) => {
    const pool = new PortPool(RANGE);
    pool.assign('a', 'ssh');
    pool.replace('a', 'ssh');
    pool.revert('a', 'ssh', 40_000);
    t.equal(pool.portOf('a', 'ssh'), 40_000);
    t.equal(pool.owner(40_001), null);
    pool.replace('a', 'ssh');
    pool.releaseService('a', 'ssh');
    pool.revert('a', 'ssh', 40_000);
    t.equal(pool.portOf('a', 'ssh'), null);
    t.equal(pool.assign('b', 'ssh'), 40_000);
  },
);

/** The same said as simply as can be: a list, searched from its start each time. */
class Model {
  rows: { deviceKey: string; service: string; port: number }[] = [];
  blocked: number[] = [];
  excluded: number[] = [];
  /** Given back, the earliest first. */
  used: number[] = [];

  find = (deviceKey: string, service: string) =>
    this.rows.find((row) => row.deviceKey === deviceKey && row.service === service);

  free(avoided: number[]): number | null {
    const taken = [...this.rows.map((row) => row.port), ...this.blocked, ...this.excluded, ...avoided];
    const all = Array.from({ length: RANGE.end - RANGE.start + 1 }, (_, index) => RANGE.start + index);
    const fresh = all.filter((port) => !this.used.includes(port));
    const again = this.used.filter((port) => all.includes(port));
    return [...fresh, ...again].find((port) => !taken.includes(port)) ?? null;
  }
}

t.test('any sequence of calls gives what the simple model gives', async () => {
  const port = fc.integer({ min: RANGE.start - 1, max: RANGE.end + 1 });
  const step = fc.record({
    call: fc.constantFrom('assign', 'replace', 'undone', 'release', 'unblock'),
    deviceKey: fc.constantFrom('a', 'b', 'c'),
    service: fc.constantFrom('ssh', 'http'),
    avoided: fc.array(port, { maxLength: 2 }),
    port,
  });
  const stored = fc.uniqueArray(port, { maxLength: 4 });
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 80 }),
      stored,
      fc.array(port, { maxLength: 1 }),
      (steps, ports, excluded) => {
        const model = new Model();
        const pool = new PortPool(RANGE, excluded);
        model.excluded = excluded;
        model.rows = ports
          .filter((one) => !excluded.includes(one))
          .map((one, index) => at(`stored-${index}`, 'ssh', one));
        pool.load(model.rows, []);
        for (const { call, deviceKey, service, avoided, port } of steps) {
          const avoid = (one: number) => avoided.includes(one);
          const row = model.find(deviceKey, service);
          const free = model.free(avoided);
          if (call === 'assign') {
            if (pool.assign(deviceKey, service, avoid) !== (row?.port ?? free)) return false;
            if (row === undefined && free !== null) model.rows.push(at(deviceKey, service, free));
          } else if (call === 'replace' || call === 'undone') {
            const given = pool.replace(deviceKey, service, avoid);
            if ((given === null) !== (row === undefined || free === null)) return false;
            if (given === null || row === undefined || free === null) continue;
            if (given.oldPort !== row.port || given.newPort !== free) return false;
            if (call === 'undone') {
              pool.revert(deviceKey, service, given.oldPort);
            } else {
              model.blocked.push(row.port);
              row.port = free;
            }
          } else if (call === 'release') {
            pool.releaseService(deviceKey, service);
            model.rows = model.rows.filter((one) => one !== row);
            if (row !== undefined) model.used = [...model.used.filter((one) => one !== row.port), row.port];
          } else {
            if (pool.unblock(port) !== model.blocked.includes(port)) return false;
            model.blocked = model.blocked.filter((one) => one !== port);
          }
          for (const one of model.rows) {
            if (pool.portOf(one.deviceKey, one.service) !== one.port) return false;
            if (pool.owner(one.port)?.deviceKey !== one.deviceKey) return false;
          }
          if (pool.full !== (model.free([]) === null)) return false;
        }
        return true;
      },
    ),
    { numRuns: 500 },
  );
});

t.test('ten thousand assignments take no search from the start for each', async (t) => {
  const pool = new PortPool({ start: 40_000, end: 49_999 });
  const startMs = performance.now();
  for (let device = 0; device < 5_000; device += 1) {
    pool.assign(`device-${device}`, 'ssh');
    pool.assign(`device-${device}`, 'http');
  }
  t.equal(pool.portOf('device-4999', 'http'), 49_999);
  t.ok(performance.now() - startMs < 1_000, 'from the start it would be 50 million looks');
});
