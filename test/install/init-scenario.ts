import { readFile } from 'node:fs/promises';
import type { Test } from 'tap';
import { run } from '../support/processes.ts';
import { until } from '../support/until.ts';
import type { Board } from './board.ts';
import {
  command,
  type ServiceName,
  type SmallInit,
  smallBoard,
  statusOf,
  syslog,
  untilProcess,
  untilReady,
  type Verb,
} from './init-board.ts';
import { commandsOf } from './page.ts';
import { expectTunnel, gatewayFor, maintenanceSshd, pair } from './use.ts';

/** "Back within seconds"; what it takes in fact stands in docs/performance.md. */
const SECONDS_MS = 10_000;
const FAKETIME = '/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1';
const IN_1970 = "LD_PRELOAD=/usr/lib/libfaketime.so.1 FAKETIME='@1970-01-01 00:00:20' FAKETIME_DONT_FAKE_MONOTONIC=1";
/** Longer than every first delay of a supervisor. */
const NOT_AGAIN_S = 3;
/** Instead of 20: how long a program may take to end. */
const STOP_TIME_S = 3;

/** The life of the services under BusyBox's init or OpenRC, told in one go because a board is dear. */
export async function servicesLive(t: Test, init: SmallInit): Promise<void> {
  const board = await smallBoard(t, init);
  await board.put(FAKETIME, '/usr/lib/libfaketime.so.1');
  const settings = init === 'busybox' ? '/etc/default/zeroforce' : '/etc/conf.d/zeroforce';
  await board.write(settings, `export STOP_TIME=${STOP_TIME_S}\n`);
  await board.boot(init);
  if (init === 'openrc') {
    for (const block of commandsOf('install/services.md', 'OpenRC')) await board.must(block);
  }

  const say = (service: ServiceName, verb: Verb) => board.sh(command(init, service, verb));
  const agent = () => untilProcess(board, 'zeroforce.child');
  const sshd = () => untilProcess(board, 'zeroforce-sshd.child');
  const banner = () => firstWord(board, 8007);
  const crash = async (t: Test, what: string) => {
    const { took, pid } = await backAfter(board, await agent());
    t.comment(`${init}: ${what}: an answer ${took} ms after kill -9`);
    t.ok(took < SECONDS_MS, `back after ${took} ms`);
    return pid;
  };

  await t.test('the services are there without a network, and status tells', async (t) => {
    const pid = await untilReady(board);
    t.equal(pid, await agent());
    t.match(await say('zeroforce', 'status'), { code: 0, stdout: /zeroforce runs|started/ });
    t.match(await say('zeroforce-sshd', 'status'), { code: 0, stdout: /zeroforce-sshd runs|started/ });
    t.match(await say('zeroforce-monitor', 'status'), { code: 3 });
    await until('the log', async () => (await syslog(board)).match(/ zeroforce: .*"the service is ready"/));
    t.equal((await say('zeroforce', 'start')).code, 0, 'a second start is none');
    t.equal(await agent(), pid);
  });

  await t.test('a second instance is refused, and the first one is named', async (t) => {
    const pid = await agent();
    t.match(await board.sh('tunnel-agent run'), { code: 1, stderr: new RegExp(`process ${pid}\\b`) });
    t.equal((await say('zeroforce-monitor', 'start')).code, 1, 'nor does the monitor start beside the service');
    t.match(await say('zeroforce-monitor', 'status'), { code: 3 });
    t.equal((await statusOf(board))?.pid, pid);
  });

  const paired = await pair(t, board);
  await t.test('the tunnel of the paired key outlives a crash of the service', async (t) => {
    const tunnel = await paired.tunnel();
    const closed = async () => (await tunnel.get('/zeroforce/readytopair')) === 'false';
    await until('pairing to be closed while the tunnel stands', closed);
    const before = await agent();
    t.equal(await crash(t, 'the service'), await agent());
    t.not(await agent(), before);
    t.ok(await closed());
    await until('the log', async () => (await syslog(board)).includes('zeroforce ended with code 137'));

    // Of that very tunnel, and of the maintenance sshd, a stop of ours must not take notice.
    await maintenanceSshd(board);
    for (const verb of ['restart', 'stop'] as const) t.equal((await say('zeroforce-sshd', verb)).code, 0);
    t.equal(await banner(), '', 'ours has ended');
    t.match(await tunnel.get('/zeroforce/info'), /"version"/, 'but not the connection that stands');
    t.match(await firstWord(board, 22), /^SSH-2/, 'and not the maintenance sshd');
    t.equal((await say('zeroforce-sshd', 'start')).code, 0);
    await until('sshd', async () => (await banner()) !== '');
    await tunnel.close();
  });

  await t.test('a technician reaches the device; a reload brings the configuration that makes it so', async (t) => {
    const proxy = await gatewayFor(t, board);
    const config = JSON.parse(await readFile('board/beamer/config.json', 'utf8')) as object;
    const before = await agent();
    await board.write('/etc/zeroforce/config.json', JSON.stringify({ ...config, meeting: proxy.meeting }), 0o600);
    t.equal((await say('zeroforce', 'reload')).code, 0);
    await expectTunnel(t, proxy);
    t.equal(await agent(), before);
    await proxy.stop();
  });

  await t.test(
    'the dedicated sshd comes back, and a broken configuration does not end the one that runs',
    async (t) => {
      const startedMs = performance.now();
      await board.must(`kill -9 ${await sshd()}`);
      await until('sshd', async () => (await banner()) !== '');
      const took = Math.round(performance.now() - startedMs);
      t.comment(`${init}: sshd: an answer ${took} ms after kill -9`);
      t.ok(took < SECONDS_MS);

      const before = await sshd();
      await board.must("sed -i 's/^Port 8007/Prot 8007/' /opt/beamer/beamer-ssh-tunnel");
      for (const verb of ['restart', 'reload'] as const) {
        const { code, stdout, stderr } = await say('zeroforce-sshd', verb);
        t.not(code, 0, verb);
        t.match(stdout + stderr, /Bad configuration option: Prot/);
      }
      t.equal(await sshd(), before);
      t.match(await banner(), /^SSH-2/);
      await board.must("sed -i 's/^Prot 8007/Port 8007/' /opt/beamer/beamer-ssh-tunnel");
      t.equal((await say('zeroforce-sshd', 'reload')).code, 0);
      t.equal(await sshd(), before);
      await until('sshd', async () => (await banner()) !== '');

      await board.must('mv /opt/beamer/beamer-ssh-tunnel /opt/beamer/away');
      t.equal((await say('zeroforce-sshd', 'stop')).code, 0);
      const { stdout, stderr } = await say('zeroforce-sshd', 'start');
      t.match(stdout + stderr, /there is no configuration/);
      await board.must('mv /opt/beamer/away /opt/beamer/beamer-ssh-tunnel');
      await until('sshd, which found nothing at its start', async () => (await banner()) !== '');
    },
  );

  await t.test('who watches may be killed: the service goes on, once, and is watched again', async (t) => {
    const watcher = init === 'busybox' ? 'zeroforce.pid' : 'supervise-zeroforce.pid';
    const before = await agent();
    await board.must(`kill -9 ${await untilProcess(board, watcher)}`);
    t.equal((await statusOf(board))?.pid, before);
    await until('status to tell', async () => {
      const { stdout, stderr } = await say('zeroforce', 'status');
      return /supervisor is gone|unsupervised/.test(stdout + stderr);
    });
    await crash(t, 'the service, after who watches it');
    // OpenRC takes a service for started that it has started, so it has to be a restart there.
    await say('zeroforce', init === 'busybox' ? 'start' : 'restart');
    const pid = await untilReady(board);
    t.match(await say('zeroforce', 'status'), { code: 0, stdout: /runs \(process \d+\)\n|status: started/ });
    // The process of the log may have started one at the same moment, which refuses to be the second.
    await until('one service to run', async () => (await programs(board)).join() === String(pid));
  });

  if (init === 'busybox')
    await t.test('a start takes over what runs; two at once make one', async (t) => {
      const before = await agent();
      await board.must(`kill -9 ${await untilProcess(board, 'zeroforce.pid')}`);
      const start = command(init, 'zeroforce', 'start');
      await board.must(`${start} & ${start}; wait`);
      await until('one supervisor', async () => (await supervisors(board)).length === 1);
      t.same(await programs(board), [before]);
      await crash(t, 'the service, taken over');
      t.equal((await supervisors(board)).length, 1);
    });

  if (init === 'openrc')
    await t.test('an OpenRC without supervise-daemon has another', async (t) => {
      t.equal((await say('zeroforce', 'stop')).code, 0);
      await board.must('mv /sbin/supervise-daemon /sbin/left-out');
      t.match(await say('zeroforce', 'start'), { code: 0, stderr: /zeroforce-supervise takes its place/ });
      await untilReady(board);
      await crash(t, 'the service, without supervise-daemon');
      t.match(await say('zeroforce', 'status'), { code: 0, stdout: /zeroforce runs/ });
      t.equal((await say('zeroforce', 'stop')).code, 0);
      t.same(await programs(board), []);
      await board.must('mv /sbin/left-out /sbin/supervise-daemon');
      t.equal((await say('zeroforce', 'start')).code, 0);
      await untilReady(board);
    });

  await t.test('a logger that is killed is replaced', async (t) => {
    await board.must('kill -9 $(pidof logger)');
    const pid = await crash(t, 'the service, after logger');
    await until('the log', async () => (await syslog(board)).includes(`"pid":${pid},"msg":"the service is ready"`));
  });

  await t.test('a broken configuration is told, and not tried again and again', async (t) => {
    await board.must('cp -p /etc/zeroforce/config.json /tmp/ && rm /var/lib/zeroforce/config.last-good.json');
    await board.write('/etc/zeroforce/config.json', '{ "http": { "prot": 5000 } }\n', 0o600);
    const before = await agent();
    await board.must(`kill -9 ${before}`);
    await until('the log', async () =>
      (await syslog(board)).includes('ended with code 78: its configuration is wrong'),
    );
    t.match(await syslog(board), /perhaps http\.port is meant/);
    await board.must(`sleep ${NOT_AGAIN_S}`);
    const status = await say('zeroforce', 'status');
    t.not(status.code, 0);
    t.match(status.stdout + status.stderr, /its configuration is wrong|stopped/);
    t.same(await programs(board), []);
    await board.must('mv /tmp/config.json /etc/zeroforce/');
    t.equal((await say('zeroforce', 'start')).code, 0);
    await untilReady(board, before);
  });

  await t.test('stop waits for the end; the monitor alone runs then, until the service starts', async (t) => {
    t.equal((await say('zeroforce', 'stop')).code, 0);
    t.same(await programs(board), []);
    t.match(await say('zeroforce', 'status'), { code: 3, stdout: /stopped/ });
    t.equal((await say('zeroforce', 'stop')).code, 0, 'stopped twice is stopped');
    t.equal((await board.sh('ls /run/zeroforce.*')).stdout, '');
    await board.must('rm /run/zeroforce/since-connected');

    t.equal((await say('zeroforce-monitor', 'start')).code, 0);
    await until('the monitor', async () => (await board.sh('[ -e /run/zeroforce/since-connected ]')).code === 0);
    t.match(await say('zeroforce-monitor', 'status'), { code: 0 });
    t.equal((await say('zeroforce', 'start')).code, 0);
    const pid = await untilReady(board);
    t.same(await programs(board), [pid]);
    t.match(await say('zeroforce-monitor', 'status'), { code: 3 });
  });

  await t.test('one that hangs is killed', async (t) => {
    const pid = await agent();
    await board.must(`kill -STOP ${pid}`);
    t.equal((await say('zeroforce', 'stop')).code, 0);
    t.same(await programs(board), []);
    t.match(await say('zeroforce', 'status'), { code: 3 });
  });

  await t.test('after a power cut during a start, in 1970: all is there again, with the same keys', async (t) => {
    const hostKey = await hostKeyOf(board);
    await board.write(settings, `export ${IN_1970}\n`);
    await board.must('sync');
    const starting = say('zeroforce', 'start').catch(() => null);
    await agent();
    await board.cut();
    await starting;
    await board.boot(init);
    await untilReady(board);
    await until('the log', async () => /"time":"1970-01-01T00:00:.*service is ready/.test(await syslog(board)));
    t.equal(await hostKeyOf(board), hostKey);
    const tunnel = await paired.tunnel();
    t.match(await tunnel.get('/zeroforce/info'), /"version"/);
    await tunnel.close();
    await crash(t, 'the service, in 1970');
  });

  await t.test('the system shuts down, and the services end before', () => board.shutdown());
}

/** Kills process `before` of the service; gives the process that took its place, and the time until it answered. */
async function backAfter(board: Board, before: number): Promise<{ took: number; pid: number }> {
  const startedMs = performance.now();
  await board.must(`kill -9 ${before}`);
  const pid = await untilReady(board, before);
  return { took: Math.round(performance.now() - startedMs), pid };
}

const numbers = (text: string) => text.split(/\s+/).filter(Boolean).map(Number);
/** The processes of the service, whoever started them. */
const programs = async (board: Board) => numbers((await board.sh('pgrep -x node')).stdout);
const supervisors = async (board: Board) =>
  numbers((await board.sh("pgrep -f '[z]eroforce-supervise run /var/run/zeroforce.pid'")).stdout);

/** What a server says first; empty where none listens. */
async function firstWord(board: Board, port: number): Promise<string> {
  const [program = '', ...words] = board.inNet;
  const script = `exec 3<>/dev/tcp/127.0.0.1/${port} && timeout 5 head -c 8 <&3`;
  return (await run(program, [...words, 'bash', '--norc', '-c', script])).stdout;
}

async function hostKeyOf(board: Board): Promise<string> {
  const [program = '', ...words] = board.inNet;
  const { stdout } = await run(program, [...words, 'ssh-keyscan', '-t', 'ed25519', '-p', '8007', '127.0.0.1']);
  return stdout || Promise.reject(new Error('no host key'));
}
