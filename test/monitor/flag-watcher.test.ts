import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { FLAG_NAME } from '../../src/monitor/flag-file.ts';
import { FlagWatcher } from '../../src/monitor/flag-watcher.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { requires } from '../support/requires.ts';
import { testLog } from '../support/test-log.ts';
import { until } from '../support/until.ts';

/** A watcher whose slow timer never fires unless the test moves the clock: what is seen came through chokidar. */
function setUp(t: Test) {
  const parent = mkdtempSync(join(tmpdir(), 'watch-'));
  const runDir = join(parent, 'zeroforce');
  const flag = join(runDir, FLAG_NAME);
  const changes: boolean[] = [];
  const clock = new FakeClock();
  const { log, lines } = testLog();
  const watcher = new FlagWatcher({ runDir, clock, log, onChange: (isPresent) => changes.push(isPresent) });
  t.teardown(async () => {
    await watcher.stop();
    rmSync(parent, { recursive: true, force: true });
  });
  const seen = (...expected: boolean[]) =>
    until(`the changes ${expected}, not ${changes}`, () => `${changes}` === `${expected}`, 10_000);
  const touch = () => writeFileSync(flag, '');
  return { parent, runDir, flag, watcher, clock, changes, lines, seen, touch };
}

t.test('it tells the state at the start and then each change, whoever makes it', async (t) => {
  const { runDir, flag, watcher, changes, seen, touch } = setUp(t);
  mkdirSync(runDir);
  await watcher.start();
  t.strictSame(changes, [false]);
  touch();
  await seen(false, true);
  rmSync(flag);
  await seen(false, true, false);
  symlinkSync('/nowhere', flag);
  await seen(false, true, false, true);
});

t.test('a flag that is there at the start', async (t) => {
  const { runDir, flag, watcher, changes, seen, touch } = setUp(t);
  mkdirSync(runDir);
  touch();
  await watcher.start();
  t.strictSame(changes, [true]);
  rmSync(flag);
  await seen(true, false);
});

t.test('the run folder does not exist yet, and other things happen beside it and in it', async (t) => {
  const { parent, runDir, watcher, changes, seen, touch } = setUp(t);
  await watcher.start();
  mkdirSync(join(parent, 'other'));
  writeFileSync(join(parent, 'other', FLAG_NAME), '');
  writeFileSync(join(parent, FLAG_NAME), '');
  mkdirSync(runDir);
  writeFileSync(join(runDir, 'since-connected'), '5\n');
  touch();
  await seen(false, true);
  writeFileSync(join(runDir, 'since-connected'), '6\n');
  rmSync(join(parent, 'other'), { recursive: true });
  rmSync(runDir, { recursive: true });
  await seen(false, true, false);
  t.equal(changes.length, 3);
});

t.test('it hears on after the run folder was removed and made again, slowly and at once', async (t) => {
  const { runDir, flag, watcher, changes, touch } = setUp(t);
  mkdirSync(runDir);
  await watcher.start();
  const last = (isPresent: boolean) => until(`${isPresent} is seen`, () => changes.at(-1) === isPresent, 10_000);
  for (let round = 0; round < 5; round += 1) {
    touch();
    await last(true);
    rmSync(runDir, { recursive: true });
    await last(false);
    mkdirSync(runDir);
    touch();
    await last(true);
    rmSync(flag);
    await last(false);
    rmSync(runDir, { recursive: true });
    mkdirSync(runDir); // at once: this makes a single chokidar deaf
  }
  for (let round = 0; round < 5; round += 1) {
    rmSync(runDir, { recursive: true });
    mkdirSync(runDir);
    touch();
    await last(true);
    rmSync(flag);
    await last(false);
  }
});

t.test('where chokidar hears nothing, as after the parent was replaced, the slow timer sees the change', async (t) => {
  const { parent, runDir, watcher, clock, changes, touch } = setUp(t);
  mkdirSync(runDir);
  await watcher.start();
  renameSync(parent, `${parent}.old`);
  t.teardown(() => rmSync(`${parent}.old`, { recursive: true, force: true }));
  mkdirSync(runDir, { recursive: true });
  touch();
  clock.advance(5_000);
  t.strictSame(changes, [false, true]);
});

t.test('a check looks at once', async (t) => {
  const { runDir, watcher, changes, touch } = setUp(t);
  mkdirSync(runDir);
  await watcher.start();
  touch();
  t.equal(watcher.check(), true);
  t.strictSame(changes, [false, true]);
});

t.test('a stop, also in the middle of the start, leaves nothing behind and tells nothing more', async (t) => {
  const { runDir, watcher, clock, changes, touch } = setUp(t);
  mkdirSync(runDir);
  const started = watcher.start();
  await watcher.stop();
  await started;
  touch();
  t.equal(watcher.check(), true);
  t.strictSame(changes, [false]);
  t.equal(clock.pending, 0);

  const other = setUp(t);
  await other.watcher.start();
  await other.watcher.stop();
  t.equal(other.clock.pending, 0);
});

/** The monitor script of older firmware, with its 5 s made short. */
const OLD_SCRIPT = `
  mkdir -p "$RUN_DIR"
  while :; do
    if netstat -tn | grep ESTABLISHED | grep -q ":$ZEROFORCE_TUNNEL_PORT "; then
      touch "$RUN_DIR/tunnel_active"
    else
      rm -f "$RUN_DIR/tunnel_active"
    fi
    sleep 0.1
  done`;

t.test('the shell script of older firmware is honoured', requires('netstat'), async (t) => {
  const { runDir, watcher, seen } = setUp(t);
  const accepted: Socket[] = [];
  const server = createServer((socket) => void accepted.push(socket)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const port = (server.address() as { port: number }).port;
  await watcher.start();
  const script: ChildProcess = spawn('sh', ['-c', OLD_SCRIPT], {
    env: { ...process.env, RUN_DIR: runDir, ZEROFORCE_TUNNEL_PORT: String(port) },
    stdio: 'ignore',
  });
  t.teardown(async () => {
    script.kill('SIGKILL');
    if (script.exitCode === null && script.signalCode === null) await once(script, 'exit');
    for (const socket of accepted) socket.destroy();
    server.close();
  });
  await until('the script runs', () => existsSync(runDir));
  const client = connect(port, '127.0.0.1');
  await Promise.all([once(server, 'connection'), once(client, 'connect')]);
  await seen(false, true);
  client.destroy();
  await once(accepted[0]!.resume(), 'close');
  await seen(false, true, false);
});
