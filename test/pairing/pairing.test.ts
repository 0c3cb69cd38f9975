import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { EverPaired } from '../../src/pairing/ever-paired.ts';
import { KeyFile } from '../../src/pairing/key-file.ts';
import type { Observation } from '../../src/pairing/pairing.ts';
import { parsePublicKey } from '../../src/pairing/public-key.ts';
import { Failure } from '../../src/support/failures.ts';
import { gate, pairingService as service, TIMEOUT_MS } from '../support/pairing-service.ts';
import { freshKeyLine } from '../support/public-keys.ts';
import { testLog } from '../support/test-log.ts';

const SOURCE = '192.168.1.20';

t.test('a new device: open after start, sets the key, stays open until a tunnel is seen', async (t) => {
  const { pairing, see, clock, keyFileText, marked } = service(t.testdir());
  t.notOk(pairing.isOpen(), 'not before the start');
  await pairing.start();
  t.ok(pairing.isOpen());

  const line = freshKeyLine();
  const key = await pairing.setKey(`  ${line}\n`, SOURCE);
  t.equal(key.fingerprint, parsePublicKey(line).fingerprint);
  t.equal(await keyFileText(), `${line}\n`);
  t.ok(await marked(), 'the device has been paired');
  t.ok(pairing.isOpen(), 'an add-on that failed may try again');

  see('active');
  t.notOk(pairing.isOpen());
  see('none');
  clock.advance(TIMEOUT_MS - 1);
  t.notOk(pairing.isOpen());
  clock.advance(1);
  t.ok(pairing.isOpen());
  await pairing.stop();
});

t.test('before the first look that succeeds, pairing is closed', async (t) => {
  const { pairing, see } = service(t.testdir(), { tunnel: 'fault' });
  await pairing.start();
  t.notOk(pairing.isOpen());
  await t.rejects(pairing.setKey(freshKeyLine(), SOURCE), { code: 'pairing.closed' });
  see('none');
  t.ok(pairing.isOpen());
  await pairing.stop();
});

t.test('a restart does not forget', async (t) => {
  for (const [name, before] of Object.entries({
    'that a key was set': async (folder: string) => {
      const { pairing } = service(folder);
      await pairing.start();
      await pairing.setKey(freshKeyLine(), SOURCE);
      await pairing.stop();
    },
    'that a tunnel was seen': async (folder: string) => {
      const { pairing, see, marked } = service(folder);
      await pairing.start();
      see('active');
      await pairing.stop(); // waits for the write
      t.ok(await marked());
    },
    'a key that was there before us': async (folder: string) => {
      await mkdir(join(folder, 'ssh'));
      await writeFile(join(folder, 'ssh/authorized_keys'), `${freshKeyLine()}\n`);
    },
    'what it cannot read': async (folder: string) => {
      await mkdir(join(folder, 'ssh/authorized_keys'), { recursive: true }); // a folder in its place
    },
  })) {
    t.test(name, async (t) => {
      const folder = t.testdir();
      await before(folder);
      const { pairing, clock } = service(folder);
      await pairing.start();
      t.notOk(pairing.isOpen(), 'the timeout runs first');
      t.equal((await pairing.status()).opensInSeconds, 600);
      clock.advance(TIMEOUT_MS);
      t.ok(pairing.isOpen());
      await pairing.stop();
    });
  }
});

t.test(
  'a marker that cannot be read is said once, with what to do, and is made good with the next tunnel',
  async (t) => {
    const folder = t.testdir({ state: 'a file where the folder should be' });
    const { pairing, see, clock, lines, marked } = service(folder);
    await pairing.start();
    t.notOk(pairing.isOpen(), 'it may have been paired');
    t.match(await pairing.status(), { everPaired: true, opensInSeconds: 600 });
    t.match(
      lines.filter(({ level }) => level === 'error'),
      [
        {
          code: 'state.unreadable',
          remedy: /\S/,
          msg: /counts as paired: .*ever-paired could not be read: not a directory/,
        },
      ],
    );
    t.equal(lines.filter(({ level }) => level === 'error').length, 1);
    clock.advance(TIMEOUT_MS);
    t.ok(pairing.isOpen());

    await rm(join(folder, 'state'));
    see('active');
    await pairing.stop();
    t.ok(await marked());
  },
);

t.test('a key file without a valid key does not count as paired', async (t) => {
  const { pairing } = service(t.testdir({ ssh: { authorized_keys: '# none\nssh-ed25519 AAAA broken\n' } }));
  await pairing.start();
  t.ok(pairing.isOpen());
  await pairing.stop();
});

t.test('remember: false keeps it in memory only', async (t) => {
  const folder = t.testdir();
  const first = service(folder, { remember: false });
  await first.pairing.start();
  await first.pairing.setKey(freshKeyLine(), SOURCE);
  first.see('active');
  first.see('none');
  t.notOk(first.pairing.isOpen(), 'within the process the timeout applies');
  await first.pairing.stop();
  t.notOk(await first.marked(), 'no marker is written');

  const second = service(folder, { remember: false });
  await second.pairing.start();
  t.ok(second.pairing.isOpen(), 'the restart forgot, key or not');
  await second.pairing.stop();
});

t.test('setkey looks at the tunnel once more: one that nobody reported yet refuses it', async (t) => {
  const { pairing, world, keyFileText, marked } = service(t.testdir());
  await pairing.start();
  for (const tunnel of ['active', 'fault'] as const) {
    world.tunnel = 'none';
    pairing.observed({ kind: 'none' });
    world.tunnel = tunnel;
    const looks = world.looks;
    await t.rejects(pairing.setKey(freshKeyLine(), SOURCE), { code: 'pairing.closed' }, tunnel);
    t.equal(world.looks, looks + 1);
    t.notOk(pairing.isOpen(), 'what was seen counts');
  }
  t.equal(await keyFileText(), null);
  await pairing.stop();
  t.ok(await marked(), 'the tunnel that was seen is remembered');
});

t.test('a look that throws or never answers is a fault', async (t) => {
  const looks: (() => Promise<Observation>)[] = [
    async () => ({ kind: 'none' }),
    () => Promise.reject(new Error('no netstat')),
    async () => ({ kind: 'none' }),
    () => new Promise(() => undefined),
  ];
  const { pairing, clock, has } = service(t.testdir(), { observe: () => looks.shift()!() });
  await pairing.start();
  await t.rejects(pairing.setKey(freshKeyLine(), SOURCE), { code: 'pairing.closed' });
  t.ok(has(/no netstat/));
  pairing.observed({ kind: 'none' });
  await pairing.setKey(freshKeyLine(), SOURCE);

  const hanging = pairing.setKey(freshKeyLine(), SOURCE);
  while (looks.length > 0) await new Promise(setImmediate);
  clock.advance(10_000);
  await t.rejects(hanging, { code: 'pairing.closed' });
  t.equal(clock.pending, 0, 'no timer is left');
  await pairing.stop();
});

t.test('a look that was overtaken by the watcher does not bring back the past', async (t) => {
  const late = gate();
  const looks: (() => Promise<Observation>)[] = [
    async () => ({ kind: 'none' }),
    async () => {
      await late.passed;
      return { kind: 'none' };
    },
  ];
  const { pairing } = service(t.testdir(), { observe: () => looks.shift()!() });
  await pairing.start();
  const setting = pairing.setKey(freshKeyLine(), SOURCE);
  while (looks.length > 0) await new Promise(setImmediate);
  pairing.observed({ kind: 'active' });
  late.open();
  await t.rejects(setting, { code: 'pairing.closed' });
  t.equal((await pairing.status()).tunnel, 'active');
  await pairing.stop();
});

t.test('a look that fails refuses the key, whatever the watcher reports meanwhile', async (t) => {
  const looks: (() => Promise<Observation>)[] = [
    async () => ({ kind: 'none' }),
    async () => {
      pairing.observed({ kind: 'none' }); // the look itself makes the watcher report
      return { kind: 'fault' };
    },
    () => new Promise(() => undefined),
  ];
  const { pairing, clock, keyFileText } = service(t.testdir(), { observe: () => looks.shift()!() });
  await pairing.start();
  await t.rejects(pairing.setKey(freshKeyLine(), SOURCE), { code: 'pairing.closed' });
  t.equal((await pairing.status()).tunnel, 'unknown');

  pairing.observed({ kind: 'none' });
  t.ok(pairing.isOpen(), 'the next report opens it again');
  const hanging = pairing.setKey(freshKeyLine(), SOURCE);
  while (looks.length > 0) await new Promise(setImmediate);
  pairing.observed({ kind: 'none' });
  clock.advance(10_000);
  await t.rejects(hanging, { code: 'pairing.closed' });
  t.equal(await keyFileText(), null);
  await pairing.stop();
});

t.test('a look that makes the watcher report what it finds is no contradiction', async (t) => {
  const { pairing, world, keyFileText } = service(t.testdir(), {
    observe: async () => {
      pairing.observed({ kind: world.tunnel });
      await new Promise(setImmediate);
      return { kind: world.tunnel };
    },
  });
  await pairing.start();
  const line = freshKeyLine();
  await pairing.setKey(line, SOURCE);
  world.tunnel = 'active';
  await t.rejects(pairing.setKey(freshKeyLine(), SOURCE), { code: 'pairing.closed' });
  t.equal(await keyFileText(), `${line}\n`);
  await pairing.stop();
});

t.test('a tunnel that comes while the marker is being written keeps its key', async (t) => {
  const writing = gate();
  const { pairing, keyFileText } = service(t.testdir(), {
    everPaired: { read: async () => false, remember: () => writing.passed },
  });
  await pairing.start();
  const setting = pairing.setKey(freshKeyLine(), SOURCE);
  await new Promise(setImmediate);
  pairing.observed({ kind: 'active' });
  writing.open();
  await t.rejects(setting, { code: 'pairing.closed' });
  t.equal(await keyFileText(), null);
  await pairing.stop();
});

t.test('the marker is on the disk before the key file is touched', async (t) => {
  const order: string[] = [];
  const { pairing } = service(t.testdir(), {
    everPaired: {
      read: async () => false,
      remember: async () => {
        order.push('marker begins');
        await new Promise(setImmediate);
        order.push('marker ends');
      },
    },
    keyFile: {
      current: async () => null,
      replace: async () => {
        order.push('key');
      },
    },
  });
  await pairing.start();
  await pairing.setKey(freshKeyLine(), SOURCE);
  t.same(order, ['marker begins', 'marker ends', 'key']);
  await pairing.stop();
});

t.test('where the marker cannot be written, the key is not replaced', async (t) => {
  const folder = t.testdir({ state: 'a file where the folder should be' });
  const { pairing, keyFileText, lines } = service(folder, {
    everPaired: {
      read: async () => false,
      remember: () => new EverPaired({ stateDir: join(folder, 'state') }).remember(),
    },
  });
  await pairing.start();
  await t.rejects(pairing.setKey(freshKeyLine(), SOURCE), { code: 'state.unwritable' });
  t.equal(await keyFileText(), null);
  t.match(
    lines.find(({ level }) => level === 'warn'),
    { code: 'state.unwritable', source: SOURCE },
  );
  await pairing.stop();
});

t.test('where the key file cannot be written, the old key stays', async (t) => {
  const { pairing, keyFileText, keyPath } = service(t.testdir());
  await pairing.start();
  const old = freshKeyLine();
  await pairing.setKey(old, SOURCE);
  await t.rejects(pairing.setKey(`${old.slice(0, 30)}`, SOURCE), { code: 'key.invalid' });
  t.equal(await keyFileText(), `${old}\n`);

  // Stands also as root: a folder cannot be replaced by a file.
  await rm(keyPath);
  await mkdir(keyPath);
  await t.rejects(pairing.setKey(freshKeyLine(), SOURCE), { code: 'key.unwritable' });
  await pairing.stop();
});

t.test('a marker that fails with the first tunnel is written with a later change, and said in the log', async (t) => {
  const folder = t.testdir({ state: 'in the way' });
  const { pairing, see, marked, lines } = service(folder, {
    everPaired: {
      read: async () => false,
      remember: () => new EverPaired({ stateDir: join(folder, 'state') }).remember(),
    },
  });
  await pairing.start();
  see('active');
  const settled = async () => {
    const before = lines.length;
    while (lines.length === before) await new Promise(setImmediate);
  };
  await settled();
  t.match(lines.at(-1), { level: 'error', code: 'state.unwritable' });
  t.notOk(pairing.isOpen(), 'pairing goes on');

  await rm(join(folder, 'state'));
  see('none');
  await pairing.stop();
  t.ok(await marked());
});

t.test('the marker is written once: nothing is written when nothing changes', async (t) => {
  let writes = 0;
  const { pairing, see } = service(t.testdir(), {
    everPaired: {
      read: async () => false,
      remember: async () => {
        writes += 1;
      },
    },
  });
  await pairing.start();
  for (let minute = 0; minute < 10; minute += 1) {
    see('active');
    await new Promise(setImmediate);
    see('none');
  }
  t.equal(writes, 1);
  await pairing.stop();
});

t.test('two clients at once: one after the other, each with a look of its own, the last one wins', async (t) => {
  const { pairing, world, keyFileText } = service(t.testdir());
  await pairing.start();
  const looks = world.looks;
  const [first, second] = [freshKeyLine('first'), freshKeyLine('second')];
  await Promise.all([pairing.setKey(first, SOURCE), pairing.setKey(second, '192.168.1.21')]);
  t.equal(await keyFileText(), `${second}\n`);
  t.equal(world.looks, looks + 2);
  await pairing.stop();
});

t.test('marker and key are never written at the same time, whoever asks for it', async (t) => {
  const running = new Set<string>();
  const order: string[] = [];
  const write = (name: string) => async () => {
    t.equal(running.size, 0, `${name} runs alone`);
    running.add(name);
    order.push(name);
    for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate);
    running.delete(name);
  };
  const { pairing, see } = service(t.testdir(), {
    everPaired: { read: async () => false, remember: write('marker') },
    keyFile: { current: async () => null, replace: write('key') },
  });
  await pairing.start();
  const first = pairing.setKey(freshKeyLine(), SOURCE);
  const second = pairing.setKey(freshKeyLine(), SOURCE);
  while (order.length === 0) await new Promise(setImmediate);
  see('active'); // closes pairing, and its marker is owed
  await Promise.allSettled([first, second]);
  await pairing.stop();
  t.same(order, ['marker'], 'the first setkey has written it, so it is owed no more');

  const open = service(t.testdir(), {
    everPaired: { read: async () => false, remember: write('marker') },
    keyFile: { current: async () => null, replace: write('key') },
  }).pairing;
  await open.start();
  order.length = 0;
  await Promise.all([open.setKey(freshKeyLine(), SOURCE), open.setKey(freshKeyLine(), SOURCE)]);
  t.same(order, ['marker', 'key', 'marker', 'key']);
  await open.stop();
});

t.test('two clients at once: a tunnel that comes between them stops the second', async (t) => {
  const folder = t.testdir();
  const holder = service(folder);
  const { keyFileText, world } = holder;
  const real = new KeyFile({ path: holder.keyPath, log: testLog().log });
  const { pairing } = service(folder, {
    observe: async () => ({ kind: world.tunnel }),
    keyFile: {
      current: () => real.current(),
      replace: async (key) => {
        await real.replace(key);
        world.tunnel = 'active'; // the first client is quick
      },
    },
  });
  await pairing.start();
  const first = freshKeyLine('first');
  const outcomes = await Promise.allSettled([
    pairing.setKey(first, SOURCE),
    pairing.setKey(freshKeyLine('second'), '192.168.1.21'),
  ]);
  t.same(
    outcomes.map(({ status }) => status),
    ['fulfilled', 'rejected'],
  );
  t.equal(await keyFileText(), `${first}\n`);
  await pairing.stop();
});

t.test('a failed setkey does not block the next one', async (t) => {
  let fail = true;
  const { pairing } = service(t.testdir(), {
    keyFile: {
      current: async () => null,
      replace: async () => {
        if (fail) throw new Failure('key.unwritable', 'full');
      },
    },
  });
  await pairing.start();
  await t.rejects(pairing.setKey(freshKeyLine(), SOURCE), { code: 'key.unwritable' });
  fail = false;
  await t.resolves(pairing.setKey(freshKeyLine(), SOURCE));
  await pairing.stop();
});

t.test('the log tells who set which key, by fingerprint, and never the key', async (t) => {
  const { pairing, lines, has } = service(t.testdir());
  await pairing.start();
  const line = freshKeyLine('somebody');
  const { fingerprint } = await pairing.setKey(line, SOURCE);
  t.match(lines.at(-1), { level: 'info', fingerprint, type: 'ssh-ed25519', source: SOURCE });
  const base64 = line.split(' ')[1]!;
  t.notOk(has(new RegExp(base64.slice(20, 60).replaceAll('+', '\\+'))));
  await t.rejects(pairing.setKey('-----BEGIN OPENSSH PRIVATE KEY----- b3Blbn', SOURCE), { code: 'key.invalid' });
  t.notOk(has(/b3Blbn/));
  await pairing.stop();
});

t.test('opening and closing are told in the log, each once', async (t) => {
  const { pairing, see, clock, lines } = service(t.testdir());
  await pairing.start();
  see('active');
  see('active');
  see('none');
  see('none');
  clock.advance(TIMEOUT_MS);
  see('none');
  t.same(
    lines.map(({ msg }) => msg).filter((msg) => msg.startsWith('pairing is')),
    ['pairing is open', 'pairing is closed', 'pairing is open'],
  );
  await pairing.stop();
});

t.test('the status can be printed as JSON and tells what is so now', async (t) => {
  const { pairing, see, clock } = service(t.testdir());
  const status = async () => JSON.parse(JSON.stringify(await pairing.status()));
  t.match(await status(), { policy: 'open', open: false, opensInSeconds: null, tunnel: 'unknown', key: null });
  await pairing.start();
  t.match(await status(), { open: true, opensInSeconds: 0, tunnel: 'none', everPaired: false, key: null });
  const { type, fingerprint } = await pairing.setKey(freshKeyLine(), SOURCE);
  see('active');
  t.match(await status(), {
    open: false,
    reason: 'a tunnel stands',
    opensInSeconds: null,
    tunnel: 'active',
    everPaired: true,
    key: { type, fingerprint },
  });
  see('none');
  clock.advance(500);
  t.match(await status(), { open: false, opensInSeconds: 600, tunnel: 'none' });
  see('fault');
  t.match(await status(), { open: false, opensInSeconds: null, tunnel: 'unknown' });
  await pairing.stop();
});

t.test('a key file that cannot be read is said, not taken for none', async (t) => {
  const { pairing, keyPath } = service(t.testdir());
  await mkdir(keyPath, { recursive: true });
  await pairing.start();
  t.match((await pairing.status()).key, { failure: /authorized_keys/ });
  await pairing.stop();
});

t.test('stop leaves no timer, waits for a write under way, and closes pairing', async (t) => {
  const writing = gate();
  const { pairing, see, clock } = service(t.testdir(), {
    everPaired: { read: async () => true, remember: () => writing.passed },
  });
  await pairing.start();
  t.equal(clock.pending, 1, 'the countdown');
  see('none');
  clock.advance(TIMEOUT_MS);
  const setting = pairing.setKey(freshKeyLine(), SOURCE);
  await new Promise(setImmediate);
  let stopped = false;
  const stopping = pairing.stop().then(() => {
    stopped = true;
  });
  await new Promise(setImmediate);
  t.notOk(stopped, 'waits');
  t.notOk(pairing.isOpen());
  writing.open();
  await stopping;
  await t.rejects(setting, { code: 'pairing.closed' });
  see('none');
  t.equal(clock.pending, 0);
});

t.test('years of wall clock change nothing', async (t) => {
  const { pairing, see, clock } = service(t.testdir());
  await pairing.start();
  see('active');
  see('none');
  const { now } = Date;
  t.teardown(() => {
    Date.now = now;
  });
  for (const years of [-50, 50]) {
    Date.now = () => now() + years * 365 * 86_400_000;
    see('none');
    t.notOk(pairing.isOpen());
  }
  clock.advance(TIMEOUT_MS);
  t.ok(pairing.isOpen());
  await pairing.stop();
});
