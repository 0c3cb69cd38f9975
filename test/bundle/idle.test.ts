import { mkdtempSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { changedFiles, snapshotOf } from '../../bench/changed-files.ts';
import { activityOf } from '../../bench/process-figures.ts';
import { device, isReady } from '../device/support.ts';
import { requires } from '../support/requires.ts';
import { until } from '../support/until.ts';
import { installed, runInstead } from './support.ts';

/** For what the start leaves behind. */
const SETTLE_MS = 2_000;
/** One poll of netstat at least, and one look of everything that looks now and then. */
const WINDOW_MS = 6_000;
/** Seen are 5 to 20; a timer of 20 ms that somebody forgot makes 50. */
const MAX_WAKE_UPS_PER_SECOND = 45;

t.test('the idle service writes nothing to storage and sleeps', requires('netstat'), async (t) => {
  // /run lies in memory on a device, and what is written there wears out nothing.
  const runDir = mkdtempSync('/dev/shm/zeroforce-');
  t.teardown(() => rmSync(runDir, { recursive: true, force: true }));
  const { launcher } = await installed(t);
  const settings = { ZEROFORCE_MONITOR_INTERVAL: '5', ZEROFORCE_RUN_DIR: runDir };
  const service = await device(t, settings, { wrapper: runInstead(launcher, dirname(process.execPath)) });
  await until('pairing to open', () => isReady(service));
  await sleep(SETTLE_MS);

  const folder = join(service.settings.ZEROFORCE_STATE_DIR ?? '', '..');
  const [before, filesBefore] = [activityOf(service.pid), await snapshotOf(folder)];
  await sleep(WINDOW_MS);
  const [after, filesAfter] = [activityOf(service.pid), await snapshotOf(folder)];

  t.ok(filesBefore.size > 1, 'there is something to change');
  t.strictSame(changedFiles(filesBefore, filesAfter), [], 'files on storage');
  t.equal(after.storageBytes - before.storageBytes, 0, 'bytes written to storage');
  const wakeUpsPerSecond = (after.wakeUps - before.wakeUps) / (WINDOW_MS / 1000);
  t.ok(wakeUpsPerSecond > 0, 'it is alive');
  t.ok(wakeUpsPerSecond < MAX_WAKE_UPS_PER_SECOND, `woken ${wakeUpsPerSecond.toFixed(0)} times a second`);
});
