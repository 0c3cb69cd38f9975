import t from 'tap';
import { Slot } from '../../src/support/slot.ts';

function part(name: string, log: string[], { failing = false } = {}) {
  return {
    name,
    async start() {
      log.push(`${name} starts`);
      await Promise.resolve();
      if (failing) throw new Error(`${name} failed`);
      log.push(`${name} started`);
    },
    async stop() {
      log.push(`${name} stops`);
      await Promise.resolve();
      log.push(`${name} stopped`);
    },
  };
}

t.test('the old part has stopped before the new one starts', async (t) => {
  const log: string[] = [];
  const slot = new Slot(part('a', log));
  await slot.start();
  const exchanged = slot.replace(part('b', log));
  await slot.replace(part('c', log));
  await exchanged;
  t.equal(slot.current?.name, 'c');
  await slot.stop();
  await slot.stop();
  const lives = ['a', 'b', 'c'].map((name) =>
    ['starts', 'started', 'stops', 'stopped'].map((word) => `${name} ${word}`),
  );
  t.strictSame(log, lives.flat());
});

t.test('there may be no part, before and after', async (t) => {
  const log: string[] = [];
  const slot = new Slot<ReturnType<typeof part>>(null);
  await slot.start();
  await slot.replace(part('a', log));
  await slot.replace(null);
  t.equal(slot.current, null);
  await slot.stop();
  t.strictSame(log, ['a starts', 'a started', 'a stops', 'a stopped']);
});

t.test('a part that fails to start is told, and can be exchanged', async (t) => {
  const log: string[] = [];
  const slot = new Slot(part('a', log, { failing: true }));
  await t.rejects(slot.start(), { message: 'a failed' });
  await slot.replace(part('b', log));
  t.strictSame(log.slice(-2), ['b starts', 'b started']);
  await slot.stop();
});

t.test('nothing starts before the start or after the stop', async (t) => {
  const log: string[] = [];
  const slot = new Slot(part('a', log));
  await slot.replace(part('b', log));
  t.strictSame(log, []);
  const stopped = slot.stop();
  await slot.replace(part('c', log));
  await stopped;
  t.notOk(log.includes('c starts'));
});

t.test('a stop in the middle of an exchange starts nothing more', async (t) => {
  const log: string[] = [];
  const slot = new Slot(part('a', log));
  await slot.start();
  const exchanged = slot.replace(part('b', log));
  await Promise.resolve();
  await Promise.resolve();
  t.equal(log.at(-1), 'a stops');
  await slot.stop();
  await exchanged;
  t.notOk(log.includes('b starts'));
});
