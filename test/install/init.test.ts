import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { mkdtemp, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { endChild, run, withoutTap } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { until } from '../support/until.ts';
import { type Board, NEEDS_BOARD } from './board.ts';
import {
  command,
  enable,
  processIn,
  type ServiceName,
  smallBoard,
  statusOf,
  syslog,
  untilReady,
  type Verb,
} from './init-board.ts';

/** "Back within seconds"; what it takes in fact stands in docs/performance.md. */
const SECONDS_MS = 10_000;
const FAKETIME = '/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1';
/** After exit code 78: longer than every first delay. */
const NOT_AGAIN_S = 3;

for (const init of ['busybox', 'openrc'] as const) {
  t.test(`under ${init}`, requires(...NEEDS_BOARD, 'netstat', 'faketime'), async (t) => {
    const board = await smallBoard(t, init);
    await board.put(FAKETIME, '/usr/lib/libfaketime.so.1');
    await board.boot(init);
    const say = (service: ServiceName, verb: Verb) => board.sh(command(init, service, verb));
    const agent = () => processIn(board, 'zeroforce.child');
    if (init === 'openrc') await enable(board);
    if (init === 'openrc') for (const name of ['zeroforce', 'zeroforce-sshd'] as const) await say(name, 'start');

    await t.test('the services are there without a network, and status tells', async (t) => {
      const pid = await untilReady(board);
      t.equal(pid, await agent());
      t.match(await say('zeroforce', 'status'), { code: 0, stdout: /zeroforce runs|started/ });
      t.match(await say('zeroforce-sshd', 'status'), { code: 0, stdout: /zeroforce-sshd runs|started/ });
      t.match(await say('zeroforce-monitor', 'status'), { code: 3, stdout: /stopped/ });
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

    const ha = await client(t, board);
    await t.test('a key is paired and a tunnel used; the tunnel outlives a crash of the service', async (t) => {
      t.match(await ha.pair(), /"ok": ?true/);
      await ha.openTunnel();
      t.match(await ha.throughTunnel(), /^(true|false)/);
      await until('the flag', async () => (await statusOf(board))?.pairing.tunnel === 'active');

      const before = await agent();
      const { took, pid } = await backAfter(board, before);
      t.comment(`${init}: the service was back ${took} ms after kill -9`);
      t.ok(took < SECONDS_MS, `back after ${took} ms`);
      t.equal(await agent(), pid);
      t.match(await ha.throughTunnel(), /^(true|false)/, 'the tunnel that stood still stands');
      await until('the log', async () => (await syslog(board)).includes('zeroforce ended with code 137'));
    });

    await t.test('the dedicated sshd comes back as well, and no other sshd is touched', async (t) => {
      const before = await processIn(board, 'zeroforce-sshd.child');
      const startedMs = performance.now();
      await board.must(`kill -9 ${before}`);
      await until('sshd', async () => {
        const now = await processIn(board, 'zeroforce-sshd.child');
        return now !== 0 && now !== before && (await ha.banner()).startsWith('SSH-2.0');
      });
      const took = Math.round(performance.now() - startedMs);
      t.comment(`${init}: sshd was back ${took} ms after kill -9`);
      t.ok(took < SECONDS_MS);

      const maintenance = '/usr/sbin/sshd -o Port=2222 -o PidFile=/run/sshd.pid -h /tmp/maintenance';
      await board.must(`ssh-keygen -q -t ed25519 -N '' -f /tmp/maintenance && ${maintenance}`);
      t.equal((await say('zeroforce-sshd', 'restart')).code, 0);
      t.equal((await say('zeroforce-sshd', 'stop')).code, 0);
      t.equal(await ha.banner(), '', 'ours has ended');
      t.match(await ha.throughTunnel(), /^(true|false)/, 'but not the connection that stands');
      t.match(await ha.banner(2222), /^SSH-2/, 'and not the other one');
      t.equal((await say('zeroforce-sshd', 'start')).code, 0);
      await until('sshd', async () => (await ha.banner()).startsWith('SSH-2.0'));
    });

    await t.test('a broken configuration of sshd does not end the one that runs', async (t) => {
      const before = await processIn(board, 'zeroforce-sshd.child');
      await board.must("sed -i 's/^Port 8007/Prot 8007/' /opt/beamer/beamer-ssh-tunnel");
      for (const verb of ['restart', 'reload'] as const) {
        const { code, stdout, stderr } = await say('zeroforce-sshd', verb);
        t.not(code, 0, verb);
        t.match(stdout + stderr, /Bad configuration option: Prot/);
      }
      t.equal(await processIn(board, 'zeroforce-sshd.child'), before);
      t.match(await ha.banner(), /^SSH-2/);
      await board.must("sed -i 's/^Prot 8007/Port 8007/' /opt/beamer/beamer-ssh-tunnel");
      t.equal((await say('zeroforce-sshd', 'reload')).code, 0);
      await until('sshd', async () => (await ha.banner()).startsWith('SSH-2.0'));
    });

    await t.test('who watches may be killed: the service goes on, once', async (t) => {
      const before = await agent();
      const supervisor = init === 'busybox' ? 'zeroforce.pid' : 'supervise-zeroforce.pid';
      await board.must(`kill -9 ${await processIn(board, supervisor)}`);
      t.equal((await statusOf(board))?.pid, before);
      const status = await say('zeroforce', 'status');
      t.match(status.stdout + status.stderr, /supervisor is gone|unsupervised/);
      // Nobody has looked, and then the service crashes, too.
      const { took } = await backAfter(board, before);
      t.ok(took < SECONDS_MS, `back after ${took} ms`);
      t.equal((await say('zeroforce', 'restart')).code, 0);
      const pid = await untilReady(board, await agent().then((now) => (now === before ? now : 0)));
      t.match(await say('zeroforce', 'status'), { code: 0, stdout: /zeroforce runs|status: started/ });
      t.same(await programs(board), [pid], 'one service runs');
    });

    await t.test('a killed supervisor is replaced by start, which takes over what runs', async (t) => {
      if (init === 'openrc') return;
      const before = await agent();
      await board.must(`kill -9 ${await processIn(board, 'zeroforce.pid')}`);
      await board.must(`${command(init, 'zeroforce', 'start')} & ${command(init, 'zeroforce', 'start')}; wait`);
      await until('two starts at once to settle', async () => (await supervisors(board)).length === 1);
      t.same(await programs(board), [before]);
      const { took } = await backAfter(board, before);
      t.ok(took < SECONDS_MS, `back after ${took} ms`);
      t.equal((await supervisors(board)).length, 1);
    });

    await t.test('a logger that is killed is replaced', async (t) => {
      await board.must('kill -9 $(pidof logger)');
      const { pid } = await backAfter(board, await agent());
      await until('the log', async () => (await syslog(board)).includes(`"pid":${pid},"msg":"the service is ready"`));
      t.equal((await board.must('pidof logger')).trim().split(' ').length, 2, 'one for each service');
    });

    await t.test('a broken configuration is told, and not tried again and again', async (t) => {
      await board.must('cp -p /etc/zeroforce/config.json /tmp/ && rm /var/lib/zeroforce/config.last-good.json');
      await board.write('/etc/zeroforce/config.json', '{ "http": { "prot": 5000 } }\n', 0o600);
      const before = await agent();
      await board.must(`kill -9 ${before}`);
      await until('the log', async () => /ended with code 78: its configuration is wrong/.test(await syslog(board)));
      await board.must(`sleep ${NOT_AGAIN_S}`);
      const status = await say('zeroforce', 'status');
      t.not(status.code, 0);
      t.match(status.stdout + status.stderr, /its configuration is wrong|stopped/);
      t.same(await programs(board), []);
      t.match(await syslog(board), /perhaps http\.port is meant/);
      t.match(await ha.throughTunnel(), /^$/, 'pairing is gone, and that is all');
      await board.must('mv /tmp/config.json /etc/zeroforce/');
      t.equal((await say('zeroforce', 'start')).code, 0);
      await untilReady(board, before);
    });

    await t.test('stop waits for the end, and says so; the monitor alone runs then', async (t) => {
      t.equal((await say('zeroforce', 'stop')).code, 0);
      t.same(await programs(board), []);
      t.match(await say('zeroforce', 'status'), { code: 3, stdout: /stopped/ });
      t.equal((await say('zeroforce', 'stop')).code, 0, 'stopped twice is stopped');
      t.equal((await board.sh('ls /run/zeroforce.*')).stdout, '');

      t.equal((await say('zeroforce-monitor', 'start')).code, 0);
      await until('the flag', async () => (await board.sh('ls /run/zeroforce/tunnel_active')).code === 0);
      t.match(await say('zeroforce-monitor', 'status'), { code: 0 });
      t.equal((await say('zeroforce', 'start')).code, 0);
      await untilReady(board);
      t.match(await say('zeroforce-monitor', 'status'), { code: 3 }, 'the service took its place');
    });

    await t.test('one that hangs is killed by stop', async (t) => {
      const pid = await agent();
      await board.must(`kill -STOP ${pid}`);
      const { code } = await say('zeroforce', 'stop');
      t.equal(code, 0);
      t.same(await programs(board), []);
      t.equal((await say('zeroforce', 'start')).code, 0);
      await untilReady(board, pid);
    });

    await t.test('after a power cut during a start, in 1970: all is there again, with the same keys', async (t) => {
      const hostKey = await ha.hostKey();
      const conf = init === 'busybox' ? 'default' : 'conf.d';
      const fake =
        "LD_PRELOAD=/usr/lib/libfaketime.so.1 FAKETIME='@1970-01-01 00:00:20' FAKETIME_DONT_FAKE_MONOTONIC=1";
      await board.write(`/etc/${conf}/zeroforce`, `export ${fake}\n`);
      await ha.closeTunnel();
      await say('zeroforce', 'stop');
      const starting = say('zeroforce', 'start').catch(() => null);
      await until('the program', async () => (await agent()) > 0);
      await board.cut();
      await starting;
      await board.boot(init);
      await untilReady(board);
      await until('the log', async () =>
        /"time":"1970-01-01T00:00:[^"]*","[^\n]*service is ready/.test(await syslog(board)),
      );
      t.equal(await ha.hostKey(), hostKey);
      await ha.openTunnel();
      t.match(await ha.throughTunnel(), /^(true|false)/);
      const { took } = await backAfter(board, await agent());
      t.ok(took < SECONDS_MS, `back after ${took} ms`);
    });

    await t.test('the system shuts down in time', async () => {
      await ha.closeTunnel();
      await board.shutdown();
    });
  });
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

/** What Home Assistant does, from within the network of the board. */
async function client(t: Test, board: Board) {
  const folder = await mkdtemp(join(tmpdir(), 'zeroforce-client-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const key = join(folder, 'key');
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key]);
  const there = (program: string, ...args: string[]) => {
    const [first = '', ...rest] = [...board.inNet, program, ...args];
    return run(first, rest);
  };
  let tunnel: ReturnType<typeof spawn> | null = null;
  const closeTunnel = async () => {
    if (tunnel !== null) await endChild(tunnel);
    tunnel = null;
  };
  t.teardown(closeTunnel);
  const throughTunnel = async () =>
    (await there('curl', '-s', '-m', '5', 'http://127.0.0.1:15000/zeroforce/readytopair')).stdout;

  return {
    pair: async () =>
      (
        await there(
          'curl',
          '-s',
          '--data-urlencode',
          `key=${(await readFile(`${key}.pub`, 'utf8')).trim()}`,
          'http://127.0.0.1:5000/zeroforce/setkey',
        )
      ).stdout,
    async openTunnel() {
      const options = ['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'ExitOnForwardFailure=yes'];
      const ssh = ['ssh', '-N', '-p', '8007', '-i', key, ...options.flatMap((one) => ['-o', one])];
      const words = [...board.inNet, ...ssh, '-L', '127.0.0.1:15000:localhost:5000', 'root@127.0.0.1'];
      tunnel = spawn(...withoutTap(words[0] ?? '', words.slice(1)), { stdio: 'ignore' });
      await until('the tunnel', async () => (await throughTunnel()) !== '');
    },
    closeTunnel,
    throughTunnel,
    /** What sshd says first; empty where none listens. */
    banner: async (port = 8007) =>
      (await there('bash', '-c', `exec 3<>/dev/tcp/127.0.0.1/${port} && timeout 5 head -c 8 <&3`)).stdout,
    hostKey: async () => (await there('ssh-keyscan', '-t', 'ed25519', '-p', '8007', '127.0.0.1')).stdout,
  };
}
