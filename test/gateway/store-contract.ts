import t, { type Test } from 'tap';
import type { KnownAddress, Store } from '../../src/gateway/store.ts';
import type { Device } from '../../src/gateway/types.ts';
import { aDevice, anEntry, observed } from './samples.ts';

const NASTY_TEXTS = [
  `'; drop table devices; --`,
  `" or 1=1 -- %_\\ ? ?1 :x $1`,
  '中文 žluťoučký 👩‍👩‍👧 \u202e \uffff',
  'line one\nline two\ttab\r\n\u0001\u007f',
  '{"json":[null]}',
  ' ',
  '',
  'null',
  '0',
];

/** What every store has to do. `open` gives an empty one; the suite closes it. */
export function storeContract(name: string, open: (t: Test) => Promise<Store>): void {
  const test = (title: string, check: (t: Test, store: Store) => Promise<void>) =>
    t.test(`${name}: ${title}`, async (t) => {
      const store = await open(t);
      t.teardown(() => store.close());
      await check(t, store);
    });
  const devicesOf = async (store: Store) => [...(await store.load()).devices].sort((a, b) => (a.key < b.key ? -1 : 1));

  test('an empty store has nothing', async (t, store) => {
    t.strictSame(await store.load(), { devices: [], assignments: [], blockedPorts: [], leases: [], addresses: [] });
    t.strictSame(await store.auditOf(null, 10), []);
    t.strictSame(await store.auditOf('nobody', 10), []);
  });

  test('a device comes back as it was, every field', async (t, store) => {
    const full = aDevice('full', {
      productSerial: 'S-1',
      authorized: false,
      pausedUntilMs: 8_640_000_000_000_000, // the last Date
      services: [
        { name: 'ssh', localPort: 22 },
        { name: 'zz', localPort: 65535 },
        { name: 'a_-9', localPort: null },
      ],
      tokenCodeStrong: false,
      tunnelTokenHash: 'tunnel hash',
      tunnelTokenSealed: 'v1.sealed',
      publicKey: `ssh-ed25519 ${'A'.repeat(16_000)}`,
      lastConnectedAtMs: 0,
      lastSeenAtMs: 1,
      heartbeat: { version: '1.2', 'odd key': '', ['__proto__']: 'own' },
    });
    const plain = aDevice('plain');
    await store.insertDevice(full);
    await store.insertDevice(plain);
    t.strictSame(await devicesOf(store), [full, plain]);
    const [{ heartbeat } = plain] = await devicesOf(store);
    t.ok(heartbeat !== null && Object.hasOwn(heartbeat, '__proto__'), 'a field may have any name');
  });

  test('keys and texts may be like words of SQL or of JavaScript', async (t, store) => {
    const keys = [
      '__proto__',
      'constructor',
      'toString',
      'select',
      'NULL',
      'a.b-c_d',
      'A',
      'a',
      '0',
      '-'.padStart(64, 'x'),
    ];
    for (const key of keys) await store.insertDevice(aDevice(key));
    t.strictSame(
      (await devicesOf(store)).map((device) => device.key),
      [...keys].sort(),
    );
    for (const [index, text] of NASTY_TEXTS.entries()) {
      const device = aDevice(`nasty-${index}`, {
        type: text,
        distribution: text,
        productSerial: text,
        heartbeat: { [text]: text },
      });
      await store.insertDevice(device);
      await store.updateDevice(device.key, { publicKey: text });
      t.strictSame(
        (await devicesOf(store)).find(({ key }) => key === device.key),
        { ...device, publicKey: text },
      );
      const entry = anEntry(text, 5, { reason: text, detail: { [text]: text } });
      await store.observe(observed({ audit: [entry] }));
      t.strictSame(await store.auditOf(text, 10), [entry]);
    }
    t.equal(await store.deleteDevice('a'), true);
    t.ok(
      (await devicesOf(store)).some(({ key }) => key === 'A'),
      'keys are compared as they are',
    );
  });

  test('what cannot be written as text does not come back cut', async (t, store) => {
    await store.insertDevice(aDevice('d'));
    const odd = 'a\0b \ud800 c';
    await store.observe(
      observed({
        audit: [anEntry('d', 1, { reason: odd, detail: { odd } })],
        addresses: [{ deviceKey: 'd', address: odd, atMs: 1 }],
      }),
    );
    const [entry] = await store.auditOf('d', 1);
    t.match(entry?.reason, /^a[\0\ufffd]b [\ud800\ufffd] c$/);
    t.equal(entry?.detail.odd, odd);
    t.match((await store.load()).addresses[0]?.address, /^a[\0\ufffd]b [\ud800\ufffd] c$/);
  });

  test('a key or a tunnel token belongs to one device, a Meeting token is shown with its key', async (t, store) => {
    const first = aDevice('first', { tunnelTokenHash: 'tunnel', tunnelTokenSealed: 'sealed' });
    await store.insertDevice(first);
    const exists = { code: 'gateway.device-exists' };
    await t.rejects(store.insertDevice(aDevice('first', { tokenCodeHash: 'another' })), exists);
    await t.rejects(store.insertDevice(aDevice('second', { tunnelTokenHash: 'tunnel' })), exists);
    t.strictSame(await devicesOf(store), [first]);

    const second = aDevice('second', { tokenCodeHash: first.tokenCodeHash });
    await store.insertDevice(second);
    await t.rejects(store.updateDevice('second', { tunnelTokenHash: 'tunnel', authorized: false }), exists);
    t.strictSame(await devicesOf(store), [first, second], 'nothing of what was refused');
    await store.updateDevice('first', { tokenCodeHash: first.tokenCodeHash, tunnelTokenHash: 'tunnel' });
    await store.updateDevice('first', { tunnelTokenHash: null, tunnelTokenSealed: null });
    await store.updateDevice('second', { tunnelTokenHash: 'tunnel' });
    t.strictSame(
      (await devicesOf(store)).map((device) => device.tunnelTokenHash),
      [null, 'tunnel'],
      'free again',
    );
    await store.deleteDevice('second');
    await store.insertDevice(aDevice('third', { tokenCodeHash: second.tokenCodeHash, tunnelTokenHash: 'tunnel' }));
  });

  test('a change sets what it names and nothing else', async (t, store) => {
    await store.insertDevice(aDevice('d'));
    await store.insertDevice(aDevice('other'));
    const changes: Partial<Device>[] = [
      { authorized: false },
      { pausedUntilMs: 17 },
      { pausedUntilMs: null, services: [{ name: 'ssh', localPort: 2222 }] },
      { tokenCodeHash: 'new', tokenCodeStrong: false },
      { tunnelTokenHash: 'h', tunnelTokenSealed: 's' },
      { publicKey: 'k' },
      {},
    ];
    let expected = aDevice('d');
    for (const change of changes) {
      await store.updateDevice('d', change);
      expected = { ...expected, ...change };
      t.strictSame(await devicesOf(store), [expected, aDevice('other')], JSON.stringify(change));
    }
  });

  test('what is not there is told, or not missed', async (t, store) => {
    const unknown = { code: 'gateway.device-unknown' };
    await t.rejects(store.updateDevice('no', { authorized: true }), unknown);
    await t.rejects(store.updateDevice('no', {}), unknown);
    await t.rejects(store.setServices('no', [], ['http']), unknown);
    await t.rejects(store.assignPort({ deviceKey: 'no', service: 'ssh', port: 1 }), unknown);
    await t.rejects(store.putLease({ deviceKey: 'no', name: 'ssh', localPort: 22, expiresAtMs: 1 }), unknown);
    t.equal(await store.deleteDevice('no'), false);
    await store.releaseBlockedPort(1);
    await store.deleteLeases([{ deviceKey: 'no', name: 'ssh' }]);
    await store.deleteLeases([]);
    await store.observe(
      observed({ addresses: [{ deviceKey: 'no', address: '::1', atMs: 1 }], seen: [{ key: 'no', lastSeenAtMs: 1 }] }),
    );
    t.strictSame(await store.load(), { devices: [], assignments: [], blockedPorts: [], leases: [], addresses: [] });
  });

  test('a port belongs to one service; another one in its place blocks the old one', async (t, store) => {
    await store.insertDevice(aDevice('a'));
    await store.insertDevice(aDevice('b'));
    const ours = { code: 'internal.unexpected' }; // the pool gives no such ports
    await store.assignPort({ deviceKey: 'a', service: 'ssh', port: 40000 });
    await t.rejects(store.assignPort({ deviceKey: 'b', service: 'ssh', port: 40000 }), ours, 'in use');
    await t.rejects(store.assignPort({ deviceKey: 'a', service: 'ssh', port: 40001 }), ours, 'it has one');
    await t.rejects(store.assignPort({ deviceKey: 'b', service: 'ssh', port: 40001 }, { oldPort: 1, atMs: 5 }), ours);
    await t.rejects(store.assignPort({ deviceKey: 'a', service: 'ssh', port: 40001 }, { oldPort: 1, atMs: 5 }), ours);
    let fleet = await store.load();
    t.strictSame(fleet.assignments, [{ deviceKey: 'a', service: 'ssh', port: 40000 }]);
    t.strictSame(fleet.blockedPorts, []);

    await store.assignPort({ deviceKey: 'a', service: 'ssh', port: 40001 }, { oldPort: 40000, atMs: 5 });
    fleet = await store.load();
    t.strictSame(fleet.assignments, [{ deviceKey: 'a', service: 'ssh', port: 40001 }]);
    t.strictSame(fleet.blockedPorts, [{ port: 40000, deviceKey: 'a', service: 'ssh', newPort: 40001, atMs: 5 }]);
    await t.rejects(store.assignPort({ deviceKey: 'b', service: 'ssh', port: 40000 }), ours, 'blocked');

    await store.deleteDevice('a');
    fleet = await store.load();
    t.strictSame(fleet.assignments, []);
    t.equal(fleet.blockedPorts.length, 1, 'the other program is still there');
    await store.releaseBlockedPort(40000);
    await store.assignPort({ deviceKey: 'b', service: 'ssh', port: 40000 });
    await store.assignPort({ deviceKey: 'b', service: 'http', port: 40001 });
    t.strictSame((await store.load()).blockedPorts, []);
  });

  test('services that are dropped lose their port and lease', async (t, store) => {
    await store.insertDevice(aDevice('a'));
    await store.insertDevice(aDevice('b'));
    for (const [at, [deviceKey, service]] of (
      [
        ['a', 'ssh'],
        ['a', 'http'],
        ['b', 'http'],
      ] as const
    ).entries()) {
      await store.assignPort({ deviceKey, service, port: 40000 + at });
      await store.putLease({ deviceKey, name: service, localPort: at + 1, expiresAtMs: 9 });
    }
    const services = [
      { name: 'ssh', localPort: 22 },
      { name: 'vnc', localPort: null },
    ];
    await store.setServices('a', services, ['http', 'never there']);
    const fleet = await store.load();
    t.strictSame(fleet.devices.find(({ key }) => key === 'a')?.services, services);
    t.strictSame(sorted(fleet.assignments), [
      { deviceKey: 'a', service: 'ssh', port: 40000 },
      { deviceKey: 'b', service: 'http', port: 40002 },
    ]);
    t.strictSame(sorted(fleet.leases.map(({ deviceKey, name }) => ({ deviceKey, name }))), [
      { deviceKey: 'a', name: 'ssh' },
      { deviceKey: 'b', name: 'http' },
    ]);
  });

  test('a lease is renewed and ended', async (t, store) => {
    await store.insertDevice(aDevice('a'));
    const lease = { deviceKey: 'a', name: 'relay', localPort: 8080, expiresAtMs: 1_790_000_000_000 };
    await store.putLease(lease);
    await store.putLease({ ...lease, name: 'ssh' });
    await store.putLease({ ...lease, localPort: 8081, expiresAtMs: lease.expiresAtMs + 1 });
    t.strictSame(
      sorted((await store.load()).leases),
      sorted([
        { ...lease, localPort: 8081, expiresAtMs: lease.expiresAtMs + 1 },
        { ...lease, name: 'ssh' },
      ]),
    );
    await store.deleteLeases([
      { deviceKey: 'a', name: 'relay' },
      { deviceKey: 'a', name: 'none' },
    ]);
    t.strictSame((await store.load()).leases, [{ ...lease, name: 'ssh' }]);
  });

  test('a removed device takes its ports, leases and addresses along, and leaves its audit', async (t, store) => {
    await store.insertDevice(aDevice('a'));
    await store.assignPort({ deviceKey: 'a', service: 'ssh', port: 40000 });
    await store.putLease({ deviceKey: 'a', name: 'ssh', localPort: 22, expiresAtMs: 1 });
    const entry = anEntry('a', 1);
    await store.observe(observed({ audit: [entry], addresses: [{ deviceKey: 'a', address: '::1', atMs: 1 }] }));
    t.equal(await store.deleteDevice('a'), true);
    t.equal(await store.deleteDevice('a'), false);
    t.strictSame(await store.load(), { devices: [], assignments: [], blockedPorts: [], leases: [], addresses: [] });
    t.strictSame(await store.auditOf('a', 5), [entry]);
    await store.insertDevice(aDevice('a'));
    t.strictSame(await devicesOf(store), [aDevice('a')], 'it may come back');
  });

  test('what was seen of a device', async (t, store) => {
    await store.insertDevice(aDevice('a'));
    await store.observe(
      observed({
        seen: [
          { key: 'a', lastSeenAtMs: 5 },
          { key: 'gone', lastSeenAtMs: 5 },
        ],
      }),
    );
    await store.observe(observed({ seen: [{ key: 'a', lastConnectedAtMs: 6, heartbeat: { a: 'b' } }, { key: 'a' }] }));
    t.strictSame(await devicesOf(store), [
      aDevice('a', { lastSeenAtMs: 5, lastConnectedAtMs: 6, heartbeat: { a: 'b' } }),
    ]);
  });

  test('the newest 16 addresses of each device, the newest first', async (t, store) => {
    await store.insertDevice(aDevice('a'));
    await store.insertDevice(aDevice('b'));
    const at = (deviceKey: string, atMs: number): KnownAddress => ({ deviceKey, address: `192.0.2.${atMs}`, atMs });
    const many = Array.from({ length: 40 }, (_, index) => at('a', index + 1));
    await store.observe(observed({ addresses: [...many, at('b', 1)] }));
    t.strictSame((await store.load()).addresses, [...many.slice(-16).reverse(), at('b', 1)]);
    await store.observe(
      observed({
        addresses: [
          { ...at('a', 30), atMs: 100 },
          { ...at('a', 40), atMs: 2 },
        ],
      }),
    );
    const { addresses } = await store.load();
    t.strictSame(addresses[0], { ...at('a', 30), atMs: 100 }, 'seen again: newer');
    t.ok(
      addresses.some((one) => one.atMs === 40),
      'an older sight does not make it older',
    );
    t.equal(addresses.length, 17);
  });

  test('the audit: the newest first, by the order of writing and not by the clock', async (t, store) => {
    const entries = [
      anEntry('a', 50, { event: 'disconnect', reason: 'keepalive_timeout', detail: { seconds: 1.5, address: '::1' } }),
      anEntry('b', 10),
      anEntry(null, 30, { event: 'rejected', reason: 'too slow' }),
      anEntry('a', 20, { event: 'replaced', detail: { ['__proto__']: 1 } }),
    ];
    await store.observe(observed({ audit: entries.slice(0, 2) }));
    await store.observe(observed({ audit: entries.slice(2) }));
    t.strictSame(await store.auditOf(null, 10), entries.toReversed());
    t.strictSame(await store.auditOf(null, 2), entries.slice(2).reverse());
    t.strictSame(await store.auditOf('a', 10), [entries[3], entries[0]]);
    t.strictSame(await store.auditOf('a', 1), [entries[3]]);
    t.strictSame(await store.auditOf('a', 0), []);
    t.strictSame(await store.auditOf('', 10), []);
  });

  test('the audit of one device has bounds, and others keep theirs', async (t, store) => {
    const quiet = Array.from({ length: 3 }, (_, index) => anEntry('quiet', index));
    await store.observe(observed({ audit: quiet }));
    for (let batch = 0; batch < 12; batch += 1) {
      const audit = Array.from({ length: 250 }, (_, index) => anEntry('loud', batch * 250 + index));
      await store.observe(observed({ audit: [...audit, anEntry(null, batch)] }));
    }
    const loud = await store.auditOf('loud', 5000);
    t.ok(loud.length >= 1000 && loud.length < 1100, `${loud.length} are kept`);
    t.strictSame(
      loud.map((entry) => entry.atMs),
      Array.from({ length: loud.length }, (_, index) => 2999 - index),
    );
    t.strictSame(await store.auditOf('quiet', 10), quiet.reverse());
    t.equal((await store.auditOf(null, 100_000)).length, loud.length + 3 + 12);
  });

  test('calls that come together are done in their order, each as a whole', async (t, store) => {
    await store.insertDevice(aDevice('d'));
    const paused = Array.from({ length: 100 }, (_, index) => store.updateDevice('d', { pausedUntilMs: index }));
    const inserts = Array.from({ length: 20 }, (_, index) =>
      store.insertDevice(aDevice(`x${index % 10}`, { type: String(index) })).then(
        () => true,
        () => false,
      ),
    );
    const ports = Array.from({ length: 10 }, () =>
      store.assignPort({ deviceKey: 'd', service: 'ssh', port: 40000 }).then(
        () => true,
        () => false,
      ),
    );
    const gone = store.deleteDevice('x0');
    await Promise.all(paused);
    t.equal((await devicesOf(store)).find(({ key }) => key === 'd')?.pausedUntilMs, 99);
    t.strictSame(
      await Promise.all(inserts),
      Array.from({ length: 20 }, (_, index) => index < 10),
    );
    t.strictSame(await Promise.all(ports), [true, ...Array.from({ length: 9 }, () => false)]);
    t.equal(await gone, true);
    t.strictSame(
      (await devicesOf(store)).map(({ key }) => key),
      ['d', ...Array.from({ length: 9 }, (_, index) => `x${index + 1}`)],
    );
  });

  test('a list may be changed after the call, and what was loaded by whoever has it', async (t, store) => {
    await store.insertDevice(aDevice('d'));
    const audit = [anEntry('d', 1)];
    const seen = [{ key: 'd', lastSeenAtMs: 7 }];
    const busy = store.updateDevice('d', { authorized: false });
    const written = store.observe({ audit, addresses: [], seen });
    audit.length = 0;
    seen.length = 0;
    await Promise.all([busy, written]);
    t.equal((await store.auditOf('d', 5)).length, 1);
    const fleet = await store.load();
    (fleet.devices as Device[]).length = 0;
    t.strictSame(await devicesOf(store), [aDevice('d', { authorized: false, lastSeenAtMs: 7 })]);
  });

  test('a closed store: decisions are refused, observations are lost, closing again is nothing', async (t, store) => {
    const last = store.insertDevice(aDevice('d'));
    await store.close();
    await last;
    const closed = { code: 'gateway.store-failed' };
    await t.rejects(store.insertDevice(aDevice('e')), closed);
    await t.rejects(store.updateDevice('d', { authorized: false }), closed);
    await t.rejects(store.deleteDevice('d'), closed);
    await t.rejects(store.load(), closed);
    await t.rejects(store.auditOf(null, 1), closed);
    await store.observe(observed({ audit: [anEntry('d', 1)] }));
    await store.close();
  });
}

const sorted = <T>(list: readonly T[]): T[] =>
  [...list].sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
