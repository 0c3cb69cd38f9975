import t from 'tap';
import { wallClock } from '../diagnose/wall-clock.ts';
import { run } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { NEEDS_BOARD } from './board.ts';
import {
  backAgain,
  configuration,
  dropIn,
  eventually,
  exposure,
  journal,
  noDropIn,
  plugIn,
  property,
  readyMs,
  statusOf,
  systemdBoard,
} from './systemd-board.ts';
import { ask, expectPairs, expectTunnel, gatewayFor, maintenanceSshd } from './use.ts';

t.test('the service under systemd', requires(...NEEDS_BOARD, 'faketime'), async (t) => {
  const board = await systemdBoard(t);
  await board.must('ssh-keygen -A');
  await board.boot('systemd'); // with no network but lo
  await maintenanceSshd(board);

  await t.test('is ready after a boot without a network', async (t) => {
    t.equal(await property(board, 'zeroforce', 'ActiveState'), 'active');
    t.equal(await property(board, 'zeroforce-sshd', 'ActiveState'), 'active');
    t.match(await property(board, 'zeroforce', 'StatusText'), /pairing is open; does not work: mdns\.no-interface$/);
    const ms = await readyMs(board, 'zeroforce');
    t.comment(`ready ${Math.round(ms)} ms after the start of its process`);
    t.ok(ms < 20_000);
  });

  await t.test('is exposed as little as it can be', async (t) => {
    for (const [unit, most] of [
      ['zeroforce', 2.3],
      ['zeroforce-sshd', 2.6],
      ['zeroforce-monitor', 1.9],
    ] as const) {
      const found = await exposure(board, unit);
      t.comment(`${unit}: exposure ${found}`);
      t.ok(found <= most, `${unit}: ${found}`);
    }
  });

  await t.test('writes its log to the journal, with its tag', async (t) => {
    const lines = (await journal(board, '-t zeroforce')).trim().split('\n');
    t.ok(lines.length > 3);
    t.match(
      lines.map((line) => JSON.parse(line) as unknown),
      lines.map(() => ({ level: String, time: String, msg: String })),
    );
  });

  const proxy = await gatewayFor(t, board);

  await t.test('takes on a tunnel at a reload, and is reached', async (t) => {
    await board.write('/etc/zeroforce/config.json', configuration({ meeting: proxy.meeting }), 0o600);
    await board.must('systemctl reload zeroforce');
    await expectTunnel(t, proxy);
  });

  await t.test('is paired: the key is written below /root, and its own sshd takes it', async (t) => {
    const paired = await expectPairs(t, board);
    t.match(await board.must('stat -c "%U %a" /root/.ssh/authorized_keys'), 'root 600');
    t.match(await board.must('journalctl --no-pager -u zeroforce-sshd'), /Accepted publickey for root/);
    const tunnel = await paired.tunnel();
    await board.must('systemctl reload zeroforce-sshd && systemctl restart zeroforce-sshd');
    t.match(await tunnel.get('/zeroforce/info'), /"version"/, 'the session outlives a restart of its sshd');
    await tunnel.close();
  });

  await t.test('looks for the cause of a trouble by itself, and finds it', async (t) => {
    t.equal(await eventually('the cause', async () => (await statusOf(board)).diagnosis?.check), 'mdns.visible');
  });

  await plugIn(board);

  await t.test('shows its page, and announces the device', async (t) => {
    t.match(await ask(board, '/'), /<!doctype html>/i);
    const announced = async () => (await statusOf(board)).mdns?.interfaces.some(({ state }) => state === 'announced');
    t.ok(await eventually('the device to be announced', announced));
  });

  await t.test('sees in its sandbox what root sees outside of it', async (t) => {
    await dropIn(
      board,
      'zeroforce',
      'examine',
      'ExecStartPost=-/bin/sh -c "tunnel-agent diagnose --json >/run/zeroforce/inside.json"',
    );
    await board.must('nft add table inet t; nft add chain inet t i "{ type filter hook input priority 0 ; }"');
    await board.must('systemctl restart zeroforce');
    type Checks = { checks: { id: string; status: string; summary: string; evidence: string | null }[] };
    const inside = JSON.parse(await board.must('cat /run/zeroforce/inside.json')) as Checks;
    const outside = JSON.parse((await board.sh('tunnel-agent diagnose --json')).stdout) as Checks;
    await noDropIn(board, 'zeroforce', 'examine');
    const short = ({ checks }: Checks) =>
      checks
        .map(({ id, status }) => `${id} ${status}`)
        .filter((line) => !/monitor|proxy|public|tunnel\.|mdns|identity/.test(line));
    t.strictSame(short(inside), short(outside));
    for (const id of ['sshd.config', 'paired.keys', 'firewall.inbound', 'disk.writable', 'service.running']) {
      t.match(
        inside.checks.find((check) => check.id === id),
        { status: 'ok' },
        id,
      );
    }
  });

  await t.test('comes back after a kill, with its tunnel', async (t) => {
    const before = await property(board, 'zeroforce', 'MainPID');
    await board.must(`kill -KILL ${before}`);
    const ms = await backAgain(board, 'zeroforce', before);
    t.comment(`back ${Math.round(ms)} ms after kill -9`);
    t.ok(ms < 30_000);
    await expectTunnel(t, proxy);
  });

  await t.test('refuses a second one, naming the first', async (t) => {
    const pid = await property(board, 'zeroforce', 'MainPID');
    const second = await board.sh('tunnel-agent run');
    t.equal(second.code, 1);
    t.match(second.stderr, `another tunnel-agent (process ${pid}) runs with /run/zeroforce`);
    t.equal(await property(board, 'zeroforce', 'MainPID'), pid);
  });

  await t.test('is restarted by the watchdog when its event loop stands, and for nothing else', async (t) => {
    await dropIn(board, 'zeroforce', 'watchdog', 'WatchdogSec=4');
    await board.must('systemctl restart zeroforce');
    const pid = await property(board, 'zeroforce', 'MainPID');

    // A dead proxy, a netstat that fails, a port that another has, a disk that is full.
    await proxy.stop();
    await board.must(
      'mount -t tmpfs -o size=16k tmpfs /var/lib/zeroforce; head -c 1M /dev/zero >/var/lib/zeroforce/full; :',
    );
    await board.must('systemd-run --quiet --unit other node -e "require(\'http\').createServer().listen(5001)"');
    await eventually('the other program to listen', async () => (await board.must('netstat -ltn')).includes(':5001 '));
    await board.write(
      '/etc/zeroforce/config.json',
      configuration({
        meeting: proxy.meeting,
        http: { port: 5001 },
        monitor: { intervalSeconds: 1, netstat: '/bin/false' },
      }),
      0o600,
    );
    await board.must('systemctl reload zeroforce');
    const faults = async () => (await statusOf(board)).faults.map(({ code }) => code);
    await eventually('all of it to be noticed', async () => {
      const codes = await faults();
      console.error(codes, await journal(board, '-u zeroforce -n 5'));
      return codes.includes('http.port-in-use') && codes.includes('monitor.netstat-failed');
    });
    const told =
      /^the tunnel is down: .*whether a paired client is connected is not known; pairing is closed; does not work: /;
    await eventually('systemd to hear of it', async () => told.test(await property(board, 'zeroforce', 'StatusText')));
    await board.must('sleep 9'); // twice the time of the watchdog
    t.equal(await property(board, 'zeroforce', 'MainPID'), pid, 'it was left alone');
    await board.must('systemctl stop other; umount /var/lib/zeroforce');
    await board.write('/etc/zeroforce/config.json', configuration({ meeting: proxy.meeting }), 0o600);

    await board.must(`kill -STOP ${pid}`);
    const ms = await backAgain(board, 'zeroforce', pid);
    t.comment(`back ${Math.round(ms)} ms after its event loop stood, with a watchdog of 4 s`);
    t.match(await journal(board, '-u zeroforce'), /Watchdog timeout/);
    await noDropIn(board, 'zeroforce', 'watchdog');
  });

  await t.test('stops in time', async (t) => {
    const startMs = performance.now();
    await board.must('systemctl stop zeroforce');
    t.comment(`stopped after ${Math.round(performance.now() - startMs)} ms`);
    t.ok(performance.now() - startMs < 15_000);
    t.equal(await property(board, 'zeroforce', 'Result'), 'success');
    t.equal((await board.sh('pgrep -f "tunnel-agent[.]cjs run"')).stdout, '');
    t.equal((await board.sh('systemctl is-active zeroforce')).stdout.trim(), 'inactive');
    t.match((await board.sh('tunnel-agent status')).stderr, /service\.not-running/);
  });

  await t.test('starts with a clock of 1970', async (t) => {
    const { LD_PRELOAD: _, ...rest } = (await wallClock())('1970-01-01 00:00:10');
    const { stdout: library } = await run('sh', ['-c', 'ls /usr/lib/*/faketime/libfaketime.so.1']);
    await board.put(library.trim(), '/usr/lib/libfaketime.so.1');
    const settings = Object.entries({ ...rest, LD_PRELOAD: '/usr/lib/libfaketime.so.1' });
    await dropIn(
      board,
      'zeroforce',
      'clock',
      settings.map(([name, value]) => `Environment="${name}=${value}"`).join('\n'),
    );
    await board.must('systemctl start zeroforce');
    t.match(await journal(board, '-t zeroforce -n 20'), /"time":"1970-01-01T.*the service is ready/);
    await noDropIn(board, 'zeroforce', 'clock');
  });

  await t.test('is not started again for a wrong configuration, until somebody does', async (t) => {
    await board.write('/etc/zeroforce/config.json', '{ "http": { "prot": 5000 } }', 0o600);
    await board.must('rm -f /var/lib/zeroforce/config.last-good.json');
    t.not((await board.sh('systemctl restart zeroforce')).code, 0);
    t.equal(await property(board, 'zeroforce', 'ExecMainStatus'), '78');
    t.equal(await property(board, 'zeroforce', 'ActiveState'), 'failed');
    t.equal(await property(board, 'zeroforce', 'SubState'), 'failed', 'no restart is under way');
    t.match(await journal(board, '-u zeroforce -n 20'), /http\.prot/);
    await board.write('/etc/zeroforce/config.json', configuration(), 0o600);
    await board.must('systemctl start zeroforce');
  });

  await t.test('gives way to the monitor alone, and the other way round', async (t) => {
    await board.must('systemctl start zeroforce-monitor');
    t.equal(await property(board, 'zeroforce', 'ActiveState'), 'inactive');
    t.equal(await property(board, 'zeroforce-monitor', 'StatusText'), 'no paired client is connected');
    t.match(await board.must('cat /run/zeroforce/since-connected'), /^\d+\n$/);
    await board.must('systemctl start zeroforce');
    t.equal(await property(board, 'zeroforce-monitor', 'ActiveState'), 'inactive');
    t.equal(await property(board, 'zeroforce', 'ActiveState'), 'active');
  });

  await t.test('its sshd serves on when the maintenance sshd stops, and comes back after a kill', async (t) => {
    await board.must('tunnel-agent pairing reset --yes');
    await board.must('rm -r /run/sshd'); // as Debian's unit of the other one does when it stops
    await expectPairs(t, board);
    const before = await property(board, 'zeroforce-sshd', 'MainPID');
    await board.must(`kill -KILL ${before}`);
    t.comment(
      `the dedicated sshd is back ${Math.round(await backAgain(board, 'zeroforce-sshd', before))} ms after kill -9`,
    );
  });
});
