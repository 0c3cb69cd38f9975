import t from 'tap';
import { takeManager } from '../../src/cli/service-manager.ts';
import { systemClock } from '../../src/support/clock.ts';
import { asFailure, Failure } from '../../src/support/failures.ts';
import { managerOf } from '../../src/systemd/manager.ts';
import { Notifier, READY_LATEST_MS } from '../../src/systemd/notifier.ts';
import { type Look, nextRound } from '../../src/systemd/rounds.ts';
import { systemdNotify } from '../../src/systemd/systemd-notify.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { testLog } from '../support/test-log.ts';

t.test('who waits to hear of this process stands in its environment', async (t) => {
  const NOTIFY_SOCKET = '/run/systemd/notify';
  t.equal(managerOf({}, 7), null);
  t.equal(managerOf({ NOTIFY_SOCKET: '', WATCHDOG_USEC: '30000000' }, 7), null);
  t.strictSame(managerOf({ NOTIFY_SOCKET }, 7), { socket: NOTIFY_SOCKET, watchdogMs: null });
  t.equal(managerOf({ NOTIFY_SOCKET, WATCHDOG_USEC: '30000000' }, 7)?.watchdogMs, 30_000);
  t.equal(managerOf({ NOTIFY_SOCKET, WATCHDOG_USEC: '30000000', WATCHDOG_PID: '7' }, 7)?.watchdogMs, 30_000);
  t.equal(managerOf({ NOTIFY_SOCKET, WATCHDOG_USEC: '30000000', WATCHDOG_PID: '8' }, 7)?.watchdogMs, null, 'another');
  for (const WATCHDOG_USEC of ['0', '-1', 'soon', '1e6', '']) {
    t.equal(managerOf({ NOTIFY_SOCKET, WATCHDOG_USEC }, 7)?.watchdogMs, null, WATCHDOG_USEC);
  }
});

t.test('no child of the service hears of it', async (t) => {
  process.env.NOTIFY_SOCKET = '/run/systemd/notify';
  process.env.WATCHDOG_USEC = '30000000';
  process.env.WATCHDOG_PID = String(process.pid);
  t.strictSame(takeManager(), { socket: '/run/systemd/notify', watchdogMs: 30_000 });
  t.strictSame(
    Object.keys(process.env).filter((name) => /NOTIFY|WATCHDOG/.test(name)),
    [],
  );
  t.equal(takeManager(), null);
});

t.test('the watchdog is fed twice in its time, and sooner again where that failed', async (t) => {
  const fine: Look = { stuck: null, status: 'all is well' };
  const first = { say: ['WATCHDOG=1', 'STATUS=all is well'], nextMs: 15_000, againMs: 3_000 };
  t.strictSame(nextRound(30_000, null, fine), first);
  t.strictSame(nextRound(30_000, 'all is well', fine).say, ['WATCHDOG=1'], 'a status is told once');
  const stuck = nextRound(30_000, 'all is well', { stuck: 'it hangs', status: 'all is well' });
  t.strictSame(stuck, { say: [], nextMs: 3_000, againMs: 3_000 }, 'what is stuck is looked at again');
  t.strictSame(nextRound(null, null, fine).say, ['STATUS=all is well'], 'without a watchdog the status alone');
  t.strictSame(nextRound(null, 'all is well', { stuck: 'it hangs', status: 'all is well' }).say, []);
});

/** A notifier with a clock that stands still, and all that systemd heard. */
function bench(options: { watchdogMs?: number | null } = {}) {
  const clock = new FakeClock();
  const { log, lines } = testLog();
  const seen: Look & { stuck: string | null } = { stuck: null, status: 'all is well' };
  const heard: string[][] = [];
  const state = { seen, deaf: false };
  const notifier = new Notifier({
    watchdogMs: options.watchdogMs === undefined ? 30_000 : options.watchdogMs,
    say: async (words) => {
      if (state.deaf) throw new Failure('service.not-told', 'systemd cannot be told');
      heard.push([...words]);
    },
    look: async () => ({ ...state.seen }),
    clock,
    log,
  });
  const after = async (ms: number) => {
    clock.advance(ms);
    await settled();
  };
  return { clock, heard, lines, notifier, state, after };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

t.test('ready, then fed, then stopping; and nothing runs on', async (t) => {
  const { notifier, heard, after, clock, state } = bench();
  notifier.start();
  t.strictSame(heard, [], 'a start says nothing');
  await notifier.ready();
  t.strictSame(heard, [['READY=1', 'WATCHDOG=1', 'STATUS=all is well']]);
  await after(14_999);
  t.equal(heard.length, 1);
  await after(1);
  t.strictSame(heard[1], ['WATCHDOG=1']);
  state.seen = { stuck: null, status: 'the tunnel is down' };
  await after(15_000);
  t.strictSame(heard[2], ['WATCHDOG=1', 'STATUS=the tunnel is down']);
  await notifier.stop();
  t.strictSame(heard[3], ['STOPPING=1', 'STATUS=stopping']);
  await after(60_000);
  t.equal(heard.length, 4);
  t.equal(clock.pending, 0);
});

t.test('a service that is stuck is not fed, is looked at again soon, and told of once', async (t) => {
  const { notifier, heard, lines, after, state } = bench();
  await notifier.ready();
  state.seen = { stuck: 'the loop does not turn', status: 'all is well' };
  await after(15_000);
  for (let i = 0; i < 3; i += 1) await after(3_000);
  t.equal(heard.length, 1, 'systemd hears nothing');
  t.strictSame(
    lines.map(({ code, msg }) => [code, msg]),
    [['service.stuck', 'systemd will restart the service unless this passes: the loop does not turn']],
  );
  state.seen = { stuck: null, status: 'all is well' };
  await after(3_000);
  t.strictSame(heard[1], ['WATCHDOG=1'], 'in time, since it was looked at again');
});

t.test('what systemd could not be told is said again, and complained of once', async (t) => {
  const { notifier, heard, lines, after, state } = bench();
  state.deaf = true;
  await notifier.ready();
  await after(3_000);
  await after(3_000);
  t.strictSame(
    lines.map(({ code }) => code),
    ['service.not-told'],
  );
  state.deaf = false;
  await after(3_000);
  t.strictSame(heard, [['READY=1', 'WATCHDOG=1', 'STATUS=all is well']], 'also that it is ready');
  state.deaf = true;
  await after(15_000);
  t.equal(lines.length, 2, 'news again');
});

t.test('a start that hangs is called ready after a minute, once', async (t) => {
  const { notifier, heard, lines, after } = bench();
  notifier.start();
  await after(READY_LATEST_MS);
  t.match(heard, [['READY=1']]);
  t.match(lines, [{ level: 'warn', msg: /the start hangs/ }]);
  await notifier.ready();
  t.equal(heard.length, 1);
  await notifier.stop();
});

t.test('a stop waits a second for a systemd that does not listen', async (t) => {
  const clock = new FakeClock();
  const never = new Promise<void>(() => undefined);
  const look = async () => ({ stuck: null, status: '' });
  const notifier = new Notifier({ watchdogMs: null, say: () => never, look, clock, log: testLog().log });
  const stopped = notifier.stop();
  clock.advance(1_000);
  await stopped;
  t.equal(clock.pending, 0);
});

t.test('a socket that nobody listens at is a failure with a name', async (t) => {
  const error = await systemdNotify(
    `${t.testdir()}/no-socket`,
    systemClock,
  )(['READY=1']).then(
    () => null,
    (reason: unknown) => asFailure(reason),
  );
  t.match(error, { code: 'service.not-told', message: /^systemd cannot be told how the service is: .*systemd-notify/ });
});
