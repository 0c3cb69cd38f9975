import { once } from 'node:events';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { ActivityMonitor, type ActivityMonitorOptions, type Observation } from '../../src/monitor/activity-monitor.ts';
import { FLAG_NAME, readFlag } from '../../src/monitor/flag-file.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { fakeNetstat } from '../support/netstat-programs.ts';
import { requires } from '../support/requires.ts';
import { testLog } from '../support/test-log.ts';
import { until } from '../support/until.ts';

const HEADER = 'Proto Recv-Q Send-Q Local Address Foreign Address State';
const TUNNEL = 'tcp 0 0 10.0.0.1:8007 10.0.0.9:40000 ESTABLISHED';
const OTHER_TUNNEL = 'tcp 0 0 10.0.0.1:8007 10.0.0.9:40001 ESTABLISHED';

/** A monitor on a clock that stands still, with a netstat that prints what the test says. */
function setUp(t: Test, options: Partial<ActivityMonitorOptions> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'monitor-'));
  const runDir = join(folder, 'zeroforce');
  const output = join(folder, 'output');
  const runs = join(folder, 'runs');
  const clock = new FakeClock();
  const observations: Observation[] = [];
  const { log, lines, has } = testLog();
  writeFileSync(runs, '');
  const monitor = new ActivityMonitor({
    tunnelPort: 8007,
    countEnd: 'local',
    confirmMs: 0,
    intervalMs: 5_000,
    runDir,
    netstatCommand: fakeNetstat(folder, `echo run >>${runs}; . ${output}`),
    clock,
    log,
    onObservation: (observation) => observations.push(observation),
    ...options,
  });
  t.teardown(async () => {
    await monitor.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  /** The shell lines that netstat runs from now on. */
  const script = (text: string) => writeFileSync(output, text);
  return {
    monitor,
    clock,
    runDir,
    folder,
    observations,
    lines,
    has,
    script,
    prints: (...connections: string[]) => script([HEADER, ...connections].map((line) => `echo '${line}'`).join('\n')),
    fails: () => script('echo "netstat: no" >&2; exit 1'),
    runs: () => readFileSync(runs, 'utf8').split('\n').length - 1,
    flag: () => readFlag(runDir),
    since: () => Number(readFileSync(join(runDir, 'since-connected'), 'utf8')),
  };
}

t.test('the flag follows the tunnel, and since-connected counts from its loss by monotonic time', async (t) => {
  const { monitor, clock, prints, flag, since, observations } = setUp(t);
  prints();
  t.match(await monitor.poll(), { kind: 'none' });
  t.equal(flag(), 'absent');
  clock.advance(2_500);
  await monitor.poll();
  t.equal(since(), 2, 'before the first tunnel: since the monitor was made');

  prints(TUNNEL);
  t.match(await monitor.poll(), { kind: 'active' });
  t.equal(flag(), 'present');
  t.equal(since(), 0);
  clock.advance(60_000);
  await monitor.poll();
  t.equal(since(), 0, 'while it is up');

  prints();
  await monitor.poll();
  t.equal(flag(), 'absent');
  t.equal(since(), 0, 'the loss has just been seen');
  clock.advance(59_999);
  await monitor.poll();
  t.equal(since(), 59);
  clock.advance(366 * 86_400_000);
  await monitor.poll();
  t.equal(since(), 366 * 86_400 + 59);
  t.match(monitor.status(), {
    observation: { kind: 'none' },
    connections: 0,
    sinceConnectedSeconds: 366 * 86_400 + 59,
  });
  t.equal(observations.length, 7);
});

t.test('a step of the wall clock changes nothing', async (t) => {
  const { monitor, clock, prints, since } = setUp(t);
  const now = Date.now;
  t.teardown(() => {
    Date.now = now;
  });
  prints();
  await monitor.poll();
  clock.advance(3_000);
  Date.now = () => now() + 10 * 365 * 86_400_000;
  await monitor.poll();
  t.equal(since(), 3);
});

t.test('it polls at the start and then once an interval, until it is stopped', async (t) => {
  const { monitor, clock, prints, runs } = setUp(t);
  prints();
  await monitor.start();
  t.equal(runs(), 1);
  for (let polls = 2; polls <= 4; polls += 1) {
    await until('the pause begins', () => clock.pending === 1);
    clock.advance(4_999);
    t.equal(runs(), polls - 1);
    clock.advance(1);
    await until(`poll ${polls}`, () => monitor.status().polledAtMs === clock.nowMs());
    t.equal(runs(), polls);
  }
  await monitor.stop();
  t.equal(clock.pending, 0);
});

t.test('a stale flag of a crashed run is corrected by the first poll', async (t) => {
  const { monitor, prints, runDir, flag } = setUp(t);
  mkdirSync(runDir);
  writeFileSync(join(runDir, FLAG_NAME), '');
  prints();
  await monitor.start();
  t.equal(flag(), 'absent');
});

t.test('a stop leaves the flag: a tunnel outlives the service', async (t) => {
  const { monitor, prints, flag } = setUp(t);
  prints(TUNNEL);
  await monitor.start();
  await monitor.stop();
  t.equal(flag(), 'present');
});

t.test('a fault leaves the flag as it was, is told once, and ends with the next good poll', async (t) => {
  const { monitor, prints, fails, script, flag, observations, lines } = setUp(t);
  prints(TUNNEL);
  await monitor.poll();
  fails();
  for (let i = 0; i < 3; i += 1)
    t.match(await monitor.poll(), { kind: 'fault', failure: { code: 'monitor.netstat-failed' } });
  t.equal(flag(), 'present');
  t.match(monitor.status().observation, { kind: 'fault', failure: { message: /netstat: no/ } });
  script('echo rubbish');
  t.match(await monitor.poll(), { kind: 'fault', failure: { code: 'monitor.netstat-unreadable' } });
  script('');
  t.match(await monitor.poll(), { kind: 'fault', failure: { code: 'monitor.netstat-unreadable' } });
  t.equal(flag(), 'present');
  prints();
  t.match(await monitor.poll(), { kind: 'none' });
  t.equal(flag(), 'absent');
  fails();
  await monitor.poll();
  t.equal(flag(), 'absent');
  t.strictSame(
    lines.map(({ level, code }) => code ?? level),
    ['info', 'monitor.netstat-failed', 'monitor.netstat-unreadable', 'info', 'monitor.netstat-failed'],
  );
  t.equal(observations.length, 8);
});

t.test('a netstat that is missing, and one that hangs', async (t) => {
  const missing = setUp(t, { netstatCommand: '/nowhere/netstat' });
  t.match(await missing.monitor.poll(), { kind: 'fault', failure: { code: 'monitor.netstat-missing' } });
  t.notOk(existsSync(missing.runDir), 'nothing is written');

  const hanging = setUp(t);
  hanging.script('sleep 1000 & wait');
  const poll = hanging.monitor.poll();
  await until('netstat runs', () => hanging.runs() === 1);
  hanging.clock.advance(3_000);
  t.match(await poll, { kind: 'fault', failure: { code: 'monitor.netstat-timeout' } });
});

t.test('a poll asked for while one runs gets a netstat of its own, shared, and never two at once', async (t) => {
  const { monitor, script, prints, runs, folder } = setUp(t);
  const gate = join(folder, 'gate');
  const answer = (...lines: string[]) => lines.map((line) => `echo '${line}'`).join('; ');
  script(`${answer(HEADER)}; while ! test -e ${gate}; do sleep 0.02; done`);
  const first = monitor.poll();
  await until('netstat runs', () => runs() === 1);
  const second = monitor.poll();
  const third = monitor.poll();
  t.equal(second, third);
  t.not(second, first);
  prints(TUNNEL);
  t.equal(runs(), 1, 'the second waits for the first');
  appendFileSync(gate, '');
  t.match(await first, { kind: 'none' });
  t.match(await second, { kind: 'active' }, 'what the first saw is not the answer');
  t.equal(runs(), 2);
  const [fourth, fifth] = await Promise.all([monitor.poll(), monitor.poll()]);
  t.match([fourth, fifth], [{ kind: 'active' }, { kind: 'active' }]);
  t.equal(runs(), 4);
});

t.test('polls asked for at the very moment when one ends still never overlap', async (t) => {
  const { monitor, script, folder } = setUp(t);
  script(`mkdir ${folder}/lock || exit 9; sleep 0.05; rmdir ${folder}/lock; echo '${HEADER}'`);
  const polls: Promise<Observation>[] = [];
  const again = (depth: number): void => {
    const poll = monitor.poll();
    polls.push(poll);
    if (depth > 0) {
      void poll.then(() => again(depth - 1));
      queueMicrotask(() => polls.push(monitor.poll()));
    }
  };
  again(4);
  again(4);
  await until('all have been asked', () => polls.length >= 18);
  for (const poll of polls) t.match(await poll, { kind: 'none' });
});

t.test('with confirmMs a connection counts only once it has lasted so long', async (t) => {
  const { monitor, clock, prints, flag } = setUp(t, { confirmMs: 15_000 });
  const kindAfter = async (ms: number) => {
    clock.advance(ms);
    return (await monitor.poll()).kind;
  };
  prints(TUNNEL);
  t.equal(await kindAfter(0), 'none');
  t.equal(monitor.status().connections, 1);
  t.equal(await kindAfter(14_999), 'none');
  t.equal(await kindAfter(1), 'active');
  t.equal(flag(), 'present');

  prints(OTHER_TUNNEL);
  t.equal(await kindAfter(5_000), 'none', 'another connection starts anew');
  prints(TUNNEL, OTHER_TUNNEL);
  t.equal(await kindAfter(10_000), 'none', 'the first one came back, and starts anew too');
  t.equal(await kindAfter(5_000), 'active');
});

t.test('a tunnel that the monitor before had confirmed stands from the first poll on', async (t) => {
  const { monitor, clock, prints, flag, runDir } = setUp(t, { confirmMs: 15_000 });
  mkdirSync(runDir);
  writeFileSync(join(runDir, FLAG_NAME), '');
  prints(TUNNEL);
  t.match(await monitor.poll(), { kind: 'active' }, 'the flag of a restart or reload vouches for it');
  t.equal(flag(), 'present');
  clock.advance(5_000);
  prints(OTHER_TUNNEL);
  t.match(await monitor.poll(), { kind: 'none' }, 'what comes later has to last');
  t.equal(flag(), 'absent');
});

t.test('connections that flap never confirm', async (t) => {
  const { monitor, clock, prints } = setUp(t, { confirmMs: 6_000 });
  for (let round = 0; round < 4; round += 1) {
    prints(`tcp 0 0 10.0.0.1:8007 10.0.0.9:${41_000 + round} ESTABLISHED`);
    t.match(await monitor.poll(), { kind: 'none' });
    clock.advance(5_000);
  }
});

t.test(
  'the run folder vanishes and comes back, or the flag is removed by others: healed by the next poll',
  async (t) => {
    const { monitor, prints, runDir, flag, since } = setUp(t);
    prints(TUNNEL);
    await monitor.poll();
    rmSync(runDir, { recursive: true });
    t.match(await monitor.poll(), { kind: 'active' });
    t.equal(flag(), 'present');
    t.equal(since(), 0);
    rmSync(join(runDir, FLAG_NAME));
    await monitor.poll();
    t.equal(flag(), 'present');
  },
);

t.test('a run folder that cannot be used is a fault, even with a good netstat', async (t) => {
  const { monitor, prints, runDir, folder, has } = setUp(t);
  symlinkSync(folder, runDir);
  prints();
  t.match(await monitor.poll(), { kind: 'fault', failure: { code: 'run-dir.unwritable' } });
  t.ok(has(/run-dir.unwritable/));
  rmSync(runDir);
  t.match(await monitor.poll(), { kind: 'none' });
});

t.test('a stop ends a netstat that hangs, at once, and further polls do nothing', async (t) => {
  const { monitor, script, runs, clock, observations } = setUp(t);
  script('sleep 1000');
  const started = monitor.start();
  await until('netstat runs', () => runs() === 1);
  const waiting = monitor.poll();
  await monitor.stop();
  t.match(await waiting, { kind: 'fault' });
  await started;
  t.match(await monitor.poll(), { kind: 'fault' });
  t.equal(runs(), 1);
  t.equal(clock.pending, 0);
  t.strictSame(observations, []);
});

t.test('a real connection to a real port raises and lowers the flag', requires('netstat'), async (t) => {
  const accepted: Socket[] = [];
  const server = createServer((socket) => void accepted.push(socket)).listen(0, '127.0.0.1');
  t.teardown(() => {
    for (const socket of accepted) socket.destroy();
    server.close();
  });
  await once(server, 'listening');
  const tunnelPort = (server.address() as { port: number }).port;
  const { monitor, flag } = setUp(t, { tunnelPort, netstatCommand: 'netstat' });
  await monitor.poll();
  t.equal(flag(), 'absent');
  const client = connect(tunnelPort, '127.0.0.1');
  await Promise.all([once(server, 'connection'), once(client, 'connect')]);
  await monitor.poll();
  t.equal(flag(), 'present');
  client.destroy();
  await once(accepted[0]!.resume(), 'close');
  await monitor.poll();
  t.equal(flag(), 'absent');
});
