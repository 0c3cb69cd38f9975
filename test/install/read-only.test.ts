import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { descendants, withoutTap } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { until } from '../support/until.ts';
import { NEEDS_BOARD } from './board.ts';
import { command, smallBoard, syslog, untilReady } from './init-board.ts';
import { pair } from './use.ts';

const STATE = '/var/lib/zeroforce';
/** docs/install/services.md has the same file. */
const KEY_FILE = `${STATE}/ssh/authorized_keys`;
/** Of the root nothing can be changed but the state folder; /run, /tmp and the logs are in memory. */
const READ_ONLY = `#!/bin/sh
[ "$1" = start ] || exit 0
mount --bind ${STATE} ${STATE} && mount -t tmpfs tmpfs /var/log && mount -o remount,bind,ro /
`;
/** The monitor polls every 5 s, the configuration is looked at as often. */
const IDLE_MS = 12_000;
const CHANGES =
  'openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir,link,linkat,symlink,symlinkat,' +
  'chmod,fchmodat,chown,fchownat,truncate,mknod,mknodat,utimensat';

t.test('a root that is never written to', requires(...NEEDS_BOARD, 'netstat', 'ptrace'), async (t) => {
  const board = await smallBoard(t, 'busybox');
  await board.write('/etc/init.d/S00read-only', READ_ONLY, 0o755);
  const config = JSON.parse(await readFile('board/beamer/config.json', 'utf8')) as { pairing: object };
  const pairing = { ...config.pairing, authorizedKeysFile: KEY_FILE };
  await board.write('/etc/zeroforce/config.json', JSON.stringify({ ...config, pairing }), 0o600);
  await board.must(`
    mkdir -p ${STATE}
    sed -i 's,^AuthorizedKeysFile .*,AuthorizedKeysFile ${KEY_FILE},' /opt/beamer/beamer-ssh-tunnel`);
  await board.boot('busybox');
  await untilReady(board);
  t.match(await board.sh('echo >/etc/x; echo >/root/x; echo >/usr/lib/zeroforce/x'), {
    stderr: /Read-only file system/,
  });

  // The last thing of a first start: the configuration that works is kept.
  await until('the configuration to be kept', async () => {
    return (await board.sh(`[ -e ${STATE}/config.last-good.json ] && ! ls ${STATE}/.config*.tmp`)).code === 0;
  });

  // Everything that the service changes, or tries to: from its idle life over pairing to a tunnel.
  const service = processNamed(board.path('/'), 'node');
  const trace = join(t.testdir(), 'trace');
  const words = withoutTap('strace', ['-f', '-qq', '-y', '-e', `trace=${CHANGES}`, '-o', trace, '-p', `${service}`]);
  const strace = spawn(...words, { stdio: 'ignore' });
  await until('strace', () => /TracerPid:\s*[1-9]/.test(readFileSync(`/proc/${service}/status`, 'utf8')));
  await sleep(IDLE_MS);
  const idle = changedFiles(await readFile(trace, 'utf8'));
  t.same(
    idle.filter((path) => !path.startsWith('/run/zeroforce/')),
    [],
    'idle, it changes nothing but what is in memory',
  );
  const paired = await pair(t, board);
  const tunnel = await paired.tunnel();
  t.match(await tunnel.get('/zeroforce/info'), /"version"/);
  await board.must(command('busybox', 'zeroforce', 'reload'));
  await until('the flag', async () => (await board.sh('[ -e /run/zeroforce/tunnel_active ]')).code === 0);
  strace.kill();
  await once(strace, 'exit');
  const changed = changedFiles(await readFile(trace, 'utf8'));
  t.ok(changed.includes(KEY_FILE), 'what is changed is seen');
  const elsewhere = changed.filter((path) => !path.startsWith(`${STATE}/`) && !path.startsWith('/run/zeroforce/'));
  t.same(elsewhere, [], 'and nothing outside of state and run folder');
  await tunnel.close();

  const kept = ['audit.log', 'config.last-good.json', 'ever-paired', 'ssh', 'ssh_host_ed25519_key'];
  t.equal(await board.must(`ls ${STATE} | grep -v pub`), `${kept.join('\n')}\n`);
  t.notMatch(await syslog(board), /EROFS|Read-only/i, 'nobody complains');
  await board.must('sync');
  const hostKey = await board.must(`cat ${STATE}/ssh_host_ed25519_key.pub`);

  // What a power cut leaves of a file that was just made: its name.
  await board.cut();
  await board.must(`: >${STATE}/ssh_host_ed25519_key`);
  await board.boot('busybox');
  await untilReady(board);
  const again = await paired.tunnel();
  t.match(await again.get('/zeroforce/info'), /"version"/, 'paired as before');
  t.not(await board.must(`cat ${STATE}/ssh_host_ed25519_key.pub`), hostKey, 'with a host key made anew');
  await again.close();
});

/** The process of this name on the board whose root is at /proc/FIRST/root, as this machine counts. */
function processNamed(root: string, name: string): number {
  const first = Number(root.split('/')[2]);
  const found = descendants(first).find((pid) => readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === name);
  if (found === undefined) throw new Error(`no ${name} runs on the board`);
  return found;
}

/** The paths of a trace that were changed or opened for writing; devices are no files. */
function changedFiles(trace: string): string[] {
  const paths = trace
    .split('\n')
    .filter((line) => !/\bopen(at)?\(/.test(line) || /O_(WRONLY|RDWR|CREAT|TRUNC)/.test(line))
    .flatMap((line) => [...line.matchAll(/"(\/[^"]*)"/g)].map(([, path = '']) => path));
  return [...new Set(paths)].filter((path) => !path.startsWith('/dev/') && !path.startsWith('/proc/')).sort();
}
