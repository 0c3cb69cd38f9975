import t from 'tap';
import { AGAIN_MS, APART_MS, SETTLE_MS, SelfDiagnosis } from '../../src/device/diagnosis.ts';
import { type Trouble, troublesOf } from '../../src/device/troubles.ts';
import type { CheckReport, Report } from '../../src/diagnose/report.ts';
import { Failure } from '../../src/support/failures.ts';
import type { TunnelStatus } from '../../src/tunnel/agent.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { testLog } from '../support/test-log.ts';

/** As often as the device looks. */
const LOOK_MS = 5_000;
const TUNNEL: Trouble = { what: 'tunnel', code: 'proxy.refused', agoMs: 0 };
const HTTP: Trouble = { what: 'fault http.port-in-use', code: 'http.port-in-use', agoMs: 0 };

function failed(summary: string, more: Partial<CheckReport> = {}): CheckReport {
  const check = {
    id: 'sshd.running',
    title: 'sshd runs',
    evidence: 'no process',
    remedy: 'systemctl start ssh',
  } as const;
  return { ...check, status: 'fail', summary, dependsOn: [], durationMs: 1, ...more };
}

function bench(troubles: Trouble[] = []) {
  const clock = new FakeClock();
  const logged = testLog();
  const runs: number[] = [];
  const bench = {
    clock,
    logged,
    runs,
    troubles,
    cause: failed('sshd does not run') as CheckReport | null,
    examine: (_signal: AbortSignal): Promise<void> | void => undefined,
    /** Looks every five seconds, and lets each run come to its end. */
    async pass(ms: number) {
      for (let passed = 0; passed < ms; passed += LOOK_MS) {
        clock.advance(LOOK_MS);
        diagnosis.look();
        for (let turn = 0; turn < 5; turn += 1) await Promise.resolve();
      }
    },
    status: () => diagnosis.status(),
    stop: () => diagnosis.stop(),
    look: () => diagnosis.look(),
  };
  const diagnosis = new SelfDiagnosis({
    troubles: () => bench.troubles,
    examine: async (signal) => {
      runs.push(clock.nowMs());
      await bench.examine(signal);
      const checks = bench.cause === null ? [] : [bench.cause];
      return { ok: bench.cause === null, cause: bench.cause?.id ?? null, checks } as unknown as Report;
    },
    clock,
    log: logged.log,
  });
  return bench;
}

t.test('a healthy device makes no check, and waits for nothing', async (t) => {
  const { pass, runs, status, clock, logged } = bench();
  await pass(24 * 3_600_000);
  t.strictSame(runs, []);
  t.equal(status(), null);
  t.equal(clock.pending, 0);
  t.strictSame(logged.lines, []);
});

t.test('a session that comes back within ten seconds needs no diagnosis', async (t) => {
  const device = bench();
  for (let hiccup = 0; hiccup < 20; hiccup += 1) {
    device.troubles = [TUNNEL];
    await device.pass(2 * LOOK_MS);
    device.troubles = [];
    await device.pass(3 * LOOK_MS);
  }
  t.strictSame(device.runs, []);
  device.troubles = [TUNNEL];
  await device.pass(3 * LOOK_MS);
  t.equal(device.runs.length, 1, 'one that stays does');
});

t.test('one that comes and goes all the time is looked into', async (t) => {
  const device = bench();
  for (let turn = 0; turn < 4; turn += 1) {
    device.troubles = [TUNNEL];
    await device.pass(LOOK_MS);
    device.troubles = [];
    if (turn < 3) await device.pass(LOOK_MS);
  }
  t.equal(device.runs.length, 1);
});

t.test('the cause stands in the status with its age, and is logged once', async (t) => {
  const device = bench([TUNNEL]);
  await device.pass(SETTLE_MS + LOOK_MS);
  device.clock.advance(2_000);
  t.strictSame(device.status(), {
    check: 'sshd.running',
    title: 'sshd runs',
    summary: 'sshd does not run',
    evidence: 'no process',
    remedy: 'systemctl start ssh',
    agoMs: 2_000,
    over: false,
  });
  await device.pass(2 * AGAIN_MS.first);
  t.ok(device.runs.length > 1);
  const loud = device.logged.lines.filter(({ level }) => level === 'warn');
  t.match(loud, [{ msg: 'the cause: sshd does not run', check: 'sshd.running', remedy: 'systemctl start ssh' }]);
  t.equal(loud.length, 1);
});

t.test('the same trouble is looked into after 10 min, then ever more seldom; another one after a minute', async (t) => {
  const device = bench([TUNNEL]);
  const gaps = () => device.runs.slice(1).map((atMs, index) => (atMs - device.runs[index]!) / 60_000);
  await device.pass(4 * 3_600_000);
  t.strictSame(gaps(), [10, 20, 40, 60, 60]);

  device.runs.length = 0;
  await device.pass(60 * 60_000);
  device.troubles = [TUNNEL, HTTP];
  await device.pass(3 * 60_000);
  device.troubles = [{ ...TUNNEL, code: 'proxy.dns' }, HTTP];
  await device.pass(20_000);
  device.troubles = [{ ...TUNNEL, code: 'proxy.timeout' }, HTTP];
  await device.pass(3 * 60_000);
  const [again, changed, changedAgain, twice] = device.runs;
  t.ok(changed! - again! >= APART_MS);
  t.equal(changedAgain! - changed!, 3 * 60_000 - SETTLE_MS, 'at once, since the last run was long ago');
  t.equal(twice! - changedAgain!, APART_MS, 'not two in a minute');
  t.equal(device.runs.length, 4);
});

t.test('a trouble whose kind changes all the time costs two runs in ten minutes, not one a minute', async (t) => {
  const device = bench();
  for (let minute = 0; minute < 60; minute += 1) {
    device.troubles = [minute % 2 === 0 ? TUNNEL : { ...TUNNEL, code: 'session.closed' }];
    await device.pass(60_000);
  }
  t.ok(device.runs.length <= 13, `${device.runs.length} runs in an hour`);
});

t.test('when the trouble is over its cause is told as past, and as present when it comes back', async (t) => {
  const device = bench([TUNNEL]);
  await device.pass(SETTLE_MS + LOOK_MS);
  t.equal(device.status()?.over, false);
  device.troubles = [];
  await device.pass(LOOK_MS);
  t.equal(device.status()?.over, false, 'a moment is not enough');
  await device.pass(2 * LOOK_MS);
  t.match(device.status(), { over: true, summary: 'sshd does not run' });
  await device.pass(3_600_000);
  t.equal(device.runs.length, 1, 'nothing is looked into');
  device.troubles = [HTTP];
  await device.pass(LOOK_MS);
  t.equal(device.status()?.over, true, 'another trouble is not this one');
  device.troubles = [TUNNEL];
  await device.pass(LOOK_MS);
  t.equal(device.status()?.over, false);
});

t.test('a run that finds nothing tells that the cause is gone, while the trouble lasts', async (t) => {
  const device = bench([TUNNEL]);
  await device.pass(SETTLE_MS + LOOK_MS);
  device.cause = null;
  await device.pass(AGAIN_MS.first);
  t.equal(device.runs.length, 2);
  t.match(device.status(), { over: true, summary: 'sshd does not run' });
});

t.test('a connection that failed once is looked into until nothing is wrong, and then forgotten', async (t) => {
  const device = bench();
  const failedAtMs = device.clock.nowMs();
  const port: Trouble = { what: 'port 22', code: 'target.refused', agoMs: 0 };
  const since = setEvents(device, port, failedAtMs);
  await device.pass(SETTLE_MS + LOOK_MS);
  t.equal(device.runs.length, 1);
  await device.pass(AGAIN_MS.first);
  t.equal(device.runs.length, 2, 'nobody knows whether the next one would fail, too');
  device.cause = null;
  await device.pass(4 * 3_600_000);
  t.equal(device.runs.length, 3);
  t.equal(device.status()?.over, true);

  since(device.clock.nowMs());
  device.cause = failed('sshd does not run');
  await device.pass(SETTLE_MS + LOOK_MS);
  t.equal(device.runs.length, 4, 'the next failure is another one');
  t.equal(device.status()?.over, false);
});

t.test('status answers while a run hangs, and a stop ends it', async (t) => {
  const device = bench([TUNNEL]);
  let aborted = false;
  device.examine = (signal) =>
    new Promise((resolve) => {
      signal.addEventListener('abort', () => {
        aborted = true;
        resolve();
      });
    });
  await device.pass(60 * 60_000);
  t.equal(device.runs.length, 1, 'never two at once');
  t.equal(device.status(), null);
  await device.stop();
  t.ok(aborted);
  t.equal(device.status(), null, 'half a run says nothing');
  await device.pass(60 * 60_000);
  t.equal(device.runs.length, 1, 'nothing begins after a stop');
});

t.test('a run that fails is reported, and the next one is made', async (t) => {
  const device = bench([TUNNEL]);
  device.examine = () => {
    throw new Error('no such module');
  };
  await device.pass(SETTLE_MS + LOOK_MS);
  t.match(device.logged.lines.at(-1), { level: 'error', code: 'internal.unexpected', msg: /no such module$/ });
  device.examine = () => undefined;
  await device.pass(AGAIN_MS.first);
  t.match(device.status(), { check: 'sshd.running' });
});

t.test('what keeps people out, as the parts know it', async (t) => {
  const failure = { code: 'proxy.dns', sentence: 's', remedy: 'r', agoMs: 5 } as const;
  const tunnel = (change: Partial<TunnelStatus>) =>
    ({ state: 'up', lastFailure: null, localFailures: [], ...change }) as unknown as TunnelStatus;
  t.strictSame(troublesOf(null, []), []);
  t.strictSame(troublesOf(tunnel({ lastFailure: failure }), []), [], 'an old failure of one that is up');
  t.strictSame(troublesOf(tunnel({ state: 'connecting' }), []), [], 'the first attempt');
  t.strictSame(troublesOf(tunnel({ state: 'stopped', lastFailure: failure }), []), [], 'on purpose');
  t.strictSame(troublesOf(tunnel({ state: 'waiting', lastFailure: failure }), [new Failure('http.port-in-use', 's')]), [
    { what: 'tunnel', code: 'proxy.dns', agoMs: 0 },
    HTTP,
  ]);
  const localFailures = [{ ...failure, code: 'target.refused' as const, port: 22 }];
  t.strictSame(troublesOf(tunnel({ localFailures }), []), [{ what: 'port 22', code: 'target.refused', agoMs: 5 }]);
});

/** The trouble happened at a time, and not since; gives how to make it happen again. */
function setEvents(device: { clock: FakeClock; troubles: Trouble[] }, trouble: Trouble, firstAtMs: number) {
  let atMs = firstAtMs;
  Object.defineProperty(device, 'troubles', { get: () => [{ ...trouble, agoMs: device.clock.nowMs() - atMs }] });
  return (nextAtMs: number) => {
    atMs = nextAtMs;
  };
}
