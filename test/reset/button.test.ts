import { execFileSync } from 'node:child_process';
import { constants, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { ResetButton } from '../../src/reset/button.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { descendants } from '../support/processes.ts';
import { testLog } from '../support/test-log.ts';
import { until } from '../support/until.ts';
import { inputEvent, keyEvent } from './support.ts';

const HOLD_MS = 10_000;
/** Longer than the hold and what follows it. */
const LONG_MS = HOLD_MS + 1_000;

/** A named pipe in the place of the input device: it gives bytes when the test writes them, and can end. */
async function button(t: Test, { path = join(t.testdir(), 'event0'), make = true } = {}) {
  if (make) execFileSync('mkfifo', [path]);
  const clock = new FakeClock();
  const { log, lines } = testLog();
  let resets = 0;
  const onHeld = () => {
    resets += 1;
  };
  const resetButton = new ResetButton({ path, onHeld, clock, log });
  t.teardown(() => resetButton.stop());
  await resetButton.start();
  const count = (text: string, level?: string) =>
    lines.filter((line) => line.msg.includes(text) && (level === undefined || line.level === level)).length;
  return {
    resetButton,
    clock,
    lines,
    path,
    count,
    resets: () => resets,
    /** Writes a press, and waits until it was seen. */
    async press(device: FileHandle, key?: number) {
      const before = count('is pressed');
      await device.write(keyEvent(1, key));
      await until('the press', () => count('is pressed') > before);
    },
    /** Until it is seen that the button is held no more. */
    released: () => until('the release', () => clock.pending === 0),
  };
}

/** The end that the kernel would write to; waits for the reader. */
async function attach(t: Test, path: string): Promise<FileHandle> {
  const device = await until('a reader of the device', () =>
    open(path, constants.O_WRONLY | constants.O_NONBLOCK).catch(() => null),
  );
  t.teardown(() => device.close().catch(() => undefined));
  return device;
}

t.test('held for 10 s it resets, once; a new press is needed for the next', async (t) => {
  const { clock, press, path, resets } = await button(t);
  const device = await attach(t, path);
  await press(device);
  clock.advance(HOLD_MS - 1);
  t.equal(resets(), 0);
  clock.advance(LONG_MS);
  t.equal(resets(), 1);
  clock.advance(10 * LONG_MS);
  t.equal(resets(), 1, 'still held');
  await device.write(Buffer.concat([keyEvent(2), keyEvent(0)]));
  await press(device);
  t.equal(resets(), 1);
  clock.advance(LONG_MS);
  t.equal(resets(), 2);
});

t.test('released before, it does nothing, however often; and the time of presses does not add up', async (t) => {
  const { clock, press, path, resets, released } = await button(t);
  const device = await attach(t, path);
  for (let count = 0; count < 3; count += 1) {
    await press(device);
    clock.advance(HOLD_MS - 1);
    await device.write(keyEvent(0));
    await released();
  }
  clock.advance(LONG_MS);
  t.equal(resets(), 0);
});

t.test('released while the machine stood still: what is read late counts before the time does', async (t) => {
  const { clock, press, path, resets, released } = await button(t);
  const device = await attach(t, path);
  await press(device);
  clock.advance(HOLD_MS); // the timer comes first
  await device.write(keyEvent(0));
  await released();
  clock.advance(LONG_MS);
  t.equal(resets(), 0);
});

t.test('repeats alone are no press, and events that were lost end one', async (t) => {
  const { clock, press, path, resets, released, count } = await button(t);
  const device = await attach(t, path);
  await device.write(keyEvent(2));
  await press(device, 1);
  t.equal(count('is pressed'), 1, 'not the repeat: the service may have started while the button was held');
  clock.advance(HOLD_MS - 1);
  await device.write(inputEvent(0, 3, 0)); // SYN_DROPPED
  await released();
  clock.advance(LONG_MS);
  t.equal(resets(), 0);
});

t.test('another key beside it does not end the hold', async (t) => {
  const { clock, press, path, resets, released } = await button(t);
  const device = await attach(t, path);
  await device.write(Buffer.concat([keyEvent(1, 1), keyEvent(1, 2), keyEvent(0, 2)]));
  await until('the press', () => clock.pending === 2); // the other is of the device that has to prove itself
  clock.advance(LONG_MS);
  t.equal(resets(), 1);
  await device.write(Buffer.concat([keyEvent(0, 1), keyEvent(1, 1), keyEvent(1, 2), keyEvent(0, 2), keyEvent(0, 1)]));
  await press(device, 2);
  await device.write(keyEvent(0, 2));
  await released();
  clock.advance(LONG_MS);
  t.equal(resets(), 1);
});

t.test('a device that is missing is reported once, looked for, and read when it comes', async (t) => {
  const path = join(t.testdir(), 'event0');
  const { resetButton, clock, press, resets, count } = await button(t, { path, make: false });
  t.match(resetButton.failure(), { code: 'reset.button-unavailable', message: /event0 cannot be read: .*ENOENT/ });
  for (let tries = 2; tries < 5; tries += 1) {
    clock.advance(5_000);
    await until('the next look', () => count('cannot be read') === tries);
  }
  t.equal(count('cannot be read', 'error'), 1, 'the log is not filled');
  execFileSync('mkfifo', [path]);
  clock.advance(5_000);
  const device = await attach(t, path);
  clock.advance(1_000);
  t.equal(resetButton.failure(), null);
  t.equal(count('can be read again'), 1);
  await press(device);
  clock.advance(LONG_MS);
  t.equal(resets(), 1);
});

t.test('a device that vanishes while the button is held resets nothing, and is read when it is back', async (t) => {
  const { resetButton, clock, press, path, resets } = await button(t);
  const device = await attach(t, path);
  await press(device);
  await device.close();
  await until('the fault', () => resetButton.failure());
  clock.advance(LONG_MS);
  t.equal(resets(), 0);
  const again = await attach(t, path);
  await press(again);
  clock.advance(LONG_MS);
  t.equal(resets(), 1);
});

t.test('what can never be read is a fault, and does not fill the log', async (t) => {
  for (const what of ['a folder', 'a file']) {
    const path = join(t.testdir(), 'event0');
    if (what === 'a folder') mkdirSync(path);
    else writeFileSync(path, 'no events');
    const { resetButton, clock, count } = await button(t, { path, make: false });
    const failure = await until('the fault', () => resetButton.failure());
    t.match(failure, { code: 'reset.button-unavailable' });
    for (let tries = 2; tries < 5; tries += 1) {
      clock.advance(5_000);
      await until('the next try', () => count('cannot be read') === tries);
    }
    t.equal(count('cannot be read', 'error'), 1, what);
    await resetButton.stop();
    rmSync(path, { recursive: true });
  }
});

t.test('stops at once while nobody presses anything, and leaves nothing behind', async (t) => {
  for (const state of ['no writer yet', 'reading', 'held'] as const) {
    const path = join(t.testdir(), `event-${state.replaceAll(' ', '-')}`);
    const { resetButton, clock, press, resets } = await button(t, { path });
    if (state !== 'no writer yet') {
      const device = await attach(t, path);
      if (state === 'held') await press(device);
    }
    const startMs = performance.now();
    await resetButton.stop();
    t.ok(performance.now() - startMs < 2_000, state);
    t.equal(clock.pending, 0, 'no timer');
    t.strictSame(descendants(process.pid), [], 'no process');
    clock.advance(LONG_MS);
    t.equal(resets(), 0);
    t.ok(existsSync(path));
  }
});

t.test('an idle button costs no processor time', async (t) => {
  const { path } = await button(t);
  await attach(t, path);
  const [reader = 0] = descendants(process.pid);
  const switches = () =>
    Number(/^voluntary_ctxt_switches:\s+(\d+)$/m.exec(readFileSync(`/proc/${reader}/status`, 'utf8'))?.[1]);
  await sleep(300); // it starts
  const before = switches();
  await sleep(700);
  t.equal(switches(), before);
});
