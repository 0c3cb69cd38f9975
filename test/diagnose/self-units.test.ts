import t from 'tap';
import { judgeClock, WRITTEN_MS } from '../../src/diagnose/device/clock-sanity.ts';
import { describeRoom, scarce } from '../../src/diagnose/device/disk-room.ts';
import { judgeMonitor, type MonitorView } from '../../src/diagnose/device/monitor-view.ts';
import { wasPaired } from '../../src/diagnose/device/pairing-past.ts';
import { judgePairing, LONG_OPEN_SECONDS } from '../../src/diagnose/device/pairing-window.ts';
import { isExpired } from '../../src/diagnose/keys/key-expiry.ts';
import { isService, parseIdentity, placesOf, udpInodes, unixListener } from '../../src/diagnose/proc/proc-text.ts';
import { authorizedKeys } from '../../src/diagnose/sshd/authorized-keys.ts';
import { freshKeyLine } from '../support/public-keys.ts';

const DAY_MS = 24 * 60 * 60 * 1000;

t.test('a clock is judged by the time that the program was written, and by the files of the device', async (t) => {
  const now = WRITTEN_MS + 100 * DAY_MS;
  t.equal(judgeClock(now, []), 'sane');
  t.equal(judgeClock(now, [now - DAY_MS, now + DAY_MS]), 'sane', 'a day is left to zones and slow clocks');
  t.equal(judgeClock(now, [now + 2 * DAY_MS]), 'behind');
  t.equal(judgeClock(now, [WRITTEN_MS + 200 * 365 * DAY_MS]), 'sane', 'a file of a time that cannot be says nothing');
  t.equal(judgeClock(0, [now]), 'past');
  t.equal(judgeClock(WRITTEN_MS - 1, []), 'past');
  t.equal(judgeClock(Date.UTC(2100, 0, 1), []), 'future');
});

t.test('a disk is scarce where its rest is small, absolutely and as a share', async (t) => {
  const MIB = 1024 * 1024;
  const room = { totalBytes: 1000 * MIB, freeBytes: 500 * MIB, files: 10_000, freeFiles: 5_000 };
  t.equal(scarce(room), null);
  t.equal(scarce({ ...room, freeBytes: 3 * MIB }), 'space');
  t.equal(
    scarce({ ...room, totalBytes: 4 * MIB, freeBytes: MIB }),
    null,
    'a small disk is not full because it is small',
  );
  t.equal(scarce({ ...room, freeBytes: 5 * MIB }), null, 'a nearly full card with room for us is none of our business');
  t.equal(scarce({ ...room, freeFiles: 10 }), 'inodes');
  t.equal(scarce({ ...room, files: 0, freeFiles: 0 }), null, 'a file system without inodes, as vfat or btrfs');
  t.equal(describeRoom(room), '500 MiB of 1000 MiB, 5000 of 10000 inodes are free');
});

t.test('a key is over a day after its expiry-time, in whatever zone', async (t) => {
  const key = (time: string) => authorizedKeys(`expiry-time="${time}" ${freshKeyLine()}`)[0];
  const over = (time: string, now: number) => {
    const one = key(time);
    return one === undefined ? null : isExpired(one, now);
  };
  t.equal(over('20260301', Date.UTC(2026, 2, 1, 20)), false);
  t.equal(over('20260301', Date.UTC(2026, 2, 3)), true);
  t.equal(over('202603011230Z', Date.UTC(2026, 2, 2, 12)), false);
  t.equal(over('20260301123000', Date.UTC(2026, 2, 2, 13)), true);
  t.equal(over('soon', Date.UTC(2030, 0, 1)), false);
});

t.test('the audit record tells whether a key was set, and not taken away again', async (t) => {
  const line = (what: string) => `{"time":"2026-01-01T00:00:00Z","what":"${what}","source":"local"}\n`;
  t.equal(wasPaired(''), null);
  t.equal(wasPaired(line('pin-set')), null);
  t.equal(wasPaired(line('key-set') + line('opened')), true);
  t.equal(wasPaired(line('key-set') + line('reset')), false);
  t.equal(wasPaired(`${line('reset') + line('key-set')}{"what":"res`), true, 'a torn line is passed over');
});

t.test('the monitor: what fits together, and what does not', async (t) => {
  const view: MonitorView = {
    flag: 'absent',
    tunnels: 0,
    written: 60,
    monitor: { kind: 'none', connections: 0, sinceConnectedSeconds: 61 },
    fault: null,
  };
  const monitor = (kind: 'active' | 'none' | 'fault' | 'starting', connections = 0) => ({
    kind,
    connections,
    sinceConnectedSeconds: 61,
  });
  const judge = (change: Partial<MonitorView>) =>
    judgeMonitor({ ...view, ...change }, { intervalMs: 5_000 })?.kind ?? null;
  t.equal(judge({}), null);
  t.equal(judge({ flag: 'present', tunnels: 1, monitor: monitor('active', 1) }), null);
  t.equal(judge({ tunnels: 1, monitor: monitor('none', 1) }), null, 'seen, and not confirmed yet');
  t.equal(judge({ tunnels: 1 }), 'missed');
  t.equal(judge({ flag: 'present', monitor: monitor('active', 1) }), 'stale');
  t.equal(judge({ flag: 'present' }), 'disagrees');
  t.equal(judge({ monitor: monitor('fault'), fault: 'no netstat' }), 'fault');
  t.equal(judge({ monitor: monitor('starting') }), 'early');
  t.equal(judge({ written: 33 }), 'hung');
  t.equal(judge({ written: null }), null);
  t.equal(judge({ monitor: null, flag: 'present' }), 'stale');
  t.equal(judge({ monitor: null, tunnels: 1 }), 'missed');
  t.equal(judge({ monitor: null, tunnels: null, flag: 'present' }), null, 'without netstat nobody knows');
  t.equal(judge({ monitor: null, flag: 'unreadable', tunnels: 1 }), null);
});

t.test('a pairing window that stands open for a day with nobody coming is worth a word', async (t) => {
  const pairing = {
    policy: 'open',
    open: true,
    pinReady: false,
    pin: { set: false, failuresLeft: 20, locked: false },
    openedLocally: null,
    reason: '',
    opensInSeconds: 0,
    tunnel: 'none',
    everPaired: true,
    key: null,
  } as const;
  t.equal(judgePairing(pairing, LONG_OPEN_SECONDS), 'longOpen');
  t.equal(judgePairing(pairing, LONG_OPEN_SECONDS - 1), null);
  t.equal(judgePairing({ ...pairing, open: false }, LONG_OPEN_SECONDS), null);
  t.equal(judgePairing({ ...pairing, openedLocally: { secondsLeft: 9 } }, LONG_OPEN_SECONDS), null);
  t.equal(judgePairing({ ...pairing, tunnel: 'unknown' }, 0), 'unknown');
  const pin = { ...pairing, policy: 'pin', open: false, pinReady: true } as const;
  t.equal(judgePairing({ ...pin, pin: { set: true, failuresLeft: 11, locked: false } }, LONG_OPEN_SECONDS), null);
  t.equal(judgePairing({ ...pin, pin: { set: true, failuresLeft: 10, locked: false } }, 0), 'pinGuessed');
  t.equal(judgePairing({ ...pairing, pin: null }, 0), null, 'the PIN is of no matter to another policy');
});

t.test('the service among the processes: itself, and not what started it', async (t) => {
  t.ok(isService(['node', '--optimize-for-size', '/opt/zeroforce/bin/../build/src/cli/tunnel-agent.js', 'run']));
  t.ok(isService(['/usr/bin/node', '/usr/lib/zeroforce/tunnel-agent.cjs', '--config', '/x', 'run']));
  for (const other of [
    ['supervise-daemon', 'zeroforce', '--start', '/usr/bin/tunnel-agent', '--', 'run'],
    ['sh', '-c', 'tunnel-agent run'],
    ['node', '/x/tunnel-agent.js', 'status'],
    ['node', '/x/tunnel-gateway.js', 'run'],
    [''],
  ]) {
    t.notOk(isService(other), other.join(' '));
  }
});

t.test('where a service was told to look, and nothing else of its environment', async (t) => {
  const environment = 'MEETING_TOKEN=41e291\0ZEROFORCE_RUN_DIR=/run/a\0PATH=/bin\0';
  t.strictSame(placesOf(['node', 'x', 'run'], environment), { config: null, runDir: '/run/a' });
  t.strictSame(placesOf(['node', 'x', 'run', '--config', '/a'], ''), { config: '/a', runDir: null });
  t.strictSame(placesOf(['node', 'x', '--config=/b', 'run'], ''), { config: '/b', runDir: null });
});

t.test('the tables of the kernel, as it prints them', async (t) => {
  const status = 'Name:\tnode\nUid:\t1500\t1500\t1500\t1500\nGid:\t50\t50\t50\t51\nGroups:\t\nNStgid:\t7\nCapEff:\t';
  const known = { uid: 1500, gid: 51, groups: [] };
  t.strictSame(parseIdentity(`${status}0000000000000000\n`), { ...known, isUnbound: false });
  t.strictSame(parseIdentity(`${status}000001ffffffffff\n`), { ...known, isUnbound: true });
  t.strictSame(parseIdentity(status.replace('Groups:\t', 'Groups:\t4 24 '))?.groups, [4, 24]);
  t.equal(parseIdentity('Name:\tnode\n'), null);

  const unix = `Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 111 /run/a b/control.sock
0000000000000000: 00000003 00000000 00000000 0001 03 222 /run/a b/control.sock
0000000000000000: 00000002 00000000 00010000 0001 01 333 @other
`;
  t.equal(unixListener(unix, '/run/a b/control.sock'), 111);
  t.equal(unixListener(unix, '/run/none'), null);

  const udp = `   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  123: FB0000E0:14E9 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 0
  124: 00000000:0044 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4712 2 0000000000000000 0
`;
  t.strictSame(udpInodes(udp, 5353), [4711]);
});
