/**
 * A Beamer: BusyBox init, a root that is never written to, a real data partition; what the package's own commands and the
 * scripts of the image make of it. What is typed on it stands in docs/install/beamer.md.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import pkg from '../../package.json' with { type: 'json' };
import { bundle } from '../../scripts/bundle.ts';
import { installed } from '../bundle/support.ts';
import { run } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { makeKey } from '../support/sshd.ts';
import { until } from '../support/until.ts';
import { type Board, makeBoard, NEEDS_BOARD } from './board.ts';
import { BOARD, installPackage } from './buildroot-package.ts';
import { commandsOf } from './page.ts';
import { ANY_HOST, ask, expectPairs, SSH } from './use.ts';

const NEWER = '9.9.9';
const DISK = '/disk/data.img';

function temporary(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'zeroforce-beamer-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** The root of the image, but for what Buildroot builds from source, and what differs from a real card. */
async function root(t: Test, maintenanceKey: string): Promise<string> {
  const folder = temporary(t);
  const [source, target] = [join(folder, 'source'), join(folder, 'target')];
  cpSync((await installed(t)).folder, source, { recursive: true });
  const { code, stderr } = await installPackage(source, target, { name: 'zeroforce-agent', init: 'SYSV' });
  if (code !== 0) throw new Error(stderr);
  for (const overlay of ['../rootfs-overlay', 'beamer/rootfs-overlay']) {
    execFileSync('cp', ['-a', `${join(BOARD, overlay)}/.`, target]);
  }
  const write = (path: string, content: string, mode = 0o644) => {
    mkdirSync(join(target, path, '..'), { recursive: true });
    writeFileSync(join(target, path), content, { mode });
  };
  write('etc/ssh/sshd_config', 'PidFile /run/sshd.pid\n');
  write('keys', maintenanceKey);
  const env = { PATH: process.env.PATH, ZEROFORCE_MAINTENANCE_KEYS: join(target, 'keys') };
  for (const script of ['post-build.sh', 'beamer/post-build.sh']) {
    execFileSync(join(BOARD, script), [target], { env, stdio: 'ignore' });
  }
  // A card's partition is an image here, on a disk of its own; the root is the board's, and read-only from the start.
  write(
    'etc/init.d/S00root',
    `#!/bin/sh
[ "$1" = start ] || exit 0
mount -o bind /disk /disk
mknod /dev/loop-control c 10 237
for i in 0 1 2 3 4 5 6 7; do mknod /dev/loop$i b 7 $i; done
mount -t tmpfs tmpfs /var/log
mount -o remount,ro,bind /
`,
    0o755,
  );
  write('etc/default/zeroforce-data', `DATA_DEVICE=${DISK}\nBOOT_DEVICE=none\nOPTIONS="loop,$OPTIONS"\n`);
  write('etc/default/beamer-update', 'PROOF=15\nSTEADY=2\n');
  // As Buildroot's S50sshd.
  write(
    'etc/init.d/S50sshd',
    '#!/bin/sh\n[ "$1" = start ] && ssh-keygen -A && mkdir -p /run/sshd && /usr/sbin/sshd\n',
    0o755,
  );
  rmSync(join(target, 'keys'));
  return target;
}

/** What `make release` makes, as far as beamer-update reads it. */
function releaseOf(t: Test, program: string): string {
  const folder = temporary(t);
  const name = `zeroforce-agent-${NEWER}`;
  mkdirSync(join(folder, name, 'init'), { recursive: true });
  for (const file of ['tunnel-agent', 'tunnel-agent.cjs.LEGAL.txt']) {
    copyFileSync(join(program, '..', file), join(folder, name, file));
  }
  copyFileSync(program, join(folder, name, 'tunnel-agent.cjs'));
  for (const file of ['zeroforce-supervise', 'zeroforce-sshd']) {
    copyFileSync(join(BOARD, 'package/zeroforce-agent', file), join(folder, name, 'init', file));
  }
  execFileSync('sh', ['-c', 'find . -type f ! -name SHA256SUMS -exec sha256sum {} + >SHA256SUMS'], {
    cwd: join(folder, name),
  });
  execFileSync('tar', ['-czf', `${name}.tar.gz`, name], { cwd: folder });
  return join(folder, `${name}.tar.gz`);
}

const ready = (board: Board) =>
  until('the service', async () => (await ask(board, '/healthz')) === '{"ok":true}', 60_000);
const version = async (board: Board) =>
  (JSON.parse(await ask(board, '/zeroforce/info')) as { version: string }).version;
/** What the page has for this moment, typed. */
const typed = async (board: Board, heading: string) => {
  let all = '';
  for (const block of commandsOf('install/beamer.md', heading)) all += await board.must(block);
  return all;
};

t.test('a Beamer', requires(...NEEDS_BOARD, 'make', 'mke2fs', 'loop'), async (t) => {
  const keys = temporary(t);
  const technician = await makeKey(join(keys, 'technician'), 'technician');
  const board = await makeBoard(t, 'bookworm');
  await board.put(await root(t, `${technician.publicKey}\n`), '/target');
  await board.must('rmdir /root/.ssh; rm -rf /var/lib/zeroforce; cp -a /target/. / && rm -rf /target');
  await board.put(process.execPath, '/usr/bin/node');
  execFileSync('mke2fs', ['-q', '-t', 'ext4', join(keys, 'data.img'), '32M']);
  await board.put(join(keys, 'data.img'), DISK);
  await board.boot('busybox');
  await ready(board);

  const login = async (key: string, port: number, command: string) => {
    const [program = '', ...prefix] = board.inNet;
    const words = [...SSH, ...ANY_HOST, '-i', key, '-p', String(port), 'root@127.0.0.1', command];
    return run(program, [...prefix, 'ssh', ...words]);
  };

  await t.test('starts on a read-only root and can be looked at', async (t) => {
    t.not((await board.sh('touch /etc/anything')).code, 0, 'the root is read-only');
    t.match(
      await typed(board, 'Look at it'),
      new RegExp(`^${pkg.version}\nzeroforce runs.*\nzeroforce-sshd runs`, 'm'),
    );
    const folders = ['etc', 'lost+found', 'maintenance', 'ssh', 'zeroforce'];
    t.equal(await board.must('cd /data && stat -c "%a %n" *'), folders.map((name) => `700 ${name}\n`).join(''));
    t.equal(await board.must('stat -c %a /data/etc/zeroforce/config.json'), '600\n');
  });

  const paired = await expectPairs(t, board);

  await t.test('nobody gets in by another key than that of the port', async (t) => {
    t.equal((await login(technician.path, 22, 'echo in')).stdout, 'in\n');
    t.match(await login(paired.key, 22, 'echo in'), { stdout: '', stderr: /Permission denied \(publickey\)/ });
    t.match(await login(technician.path, 8007, 'echo in'), { stdout: '', stderr: /Permission denied \(publickey\)/ });
    t.notMatch((await login(paired.key, 8007, 'echo in')).stdout, 'in');
  });

  await t.test(
    'takes another version of the agent from afar, if it proves itself, and remembers the rest through power cuts',
    async (t) => {
      const built = join(temporary(t), 'tunnel-agent.cjs');
      await bundle(built, NEWER);
      const good = releaseOf(t, built);
      writeFileSync(built, `process.exit(1);\n${await readFile(built, 'utf8')}`);
      const bad = releaseOf(t, built);
      const archive = `/tmp/zeroforce-agent-${NEWER}.tar.gz`;

      await board.put(bad, '/tmp/whole');
      await board.must(`head -c 400000 /tmp/whole >${archive}`);
      t.match(await board.sh(`beamer-update ${archive}`), { code: 1, stderr: /no whole release/ });
      t.equal(await version(board), pkg.version, 'half an archive changes nothing');

      await board.put(bad, archive);
      t.match(await board.sh(`beamer-update ${archive}`), {
        code: 1,
        stdout: new RegExp(`not kept.*${pkg.version} runs again`),
      });
      await ready(board);
      t.equal(await version(board), pkg.version);

      await board.put(good, archive);
      t.match(await typed(board, 'Pair it'), /key-set/);
      const hostKeys = await board.must('cat /etc/ssh/ssh_host_*.pub');
      await board.must(`beamer-update ${archive} >/dev/null 2>&1 &`);
      await until('the new version', async () => (await version(board).catch(() => '')) === NEWER);
      await board.cut();
      await board.boot('busybox');
      await ready(board);
      t.equal(await version(board), pkg.version, 'the power failed before it was kept');

      t.equal(await board.must('cat /etc/ssh/ssh_host_*.pub'), hostKeys, 'it remembers its host keys');
      t.equal(await ask(board, '/zeroforce/readytopair'), 'false', 'that it was paired');
      const tunnel = await paired.tunnel();
      t.match(await tunnel.get('/zeroforce/info'), /"version"/, 'and with whom');
      await tunnel.close();
      t.match(await typed(board, 'Make it reachable from afar'), /Reloading zeroforce: OK/);

      await board.put(good, archive);
      t.match(await typed(board, 'Update it'), `kept: ${NEWER}`);
      await board.cut();
      await board.boot('busybox');
      await ready(board);
      t.equal(await version(board), NEWER, 'kept, and still there');
      await (await paired.tunnel()).close();
      t.match(await board.must('beamer-update --image'), `${pkg.version} of the image runs`);
      await ready(board);
      t.equal(await version(board), pkg.version);
    },
  );

  await t.test('is reset', async () => {
    await typed(board, 'Reset it');
    await until('pairing to be open', async () => (await ask(board, '/zeroforce/readytopair')) === 'true');
  });

  await t.test('does not open pairing where its data is lost', async (t) => {
    await board.shutdown();
    await board.must(`rm ${DISK}`);
    await board.boot('busybox');
    await ready(board);
    t.match(board.console(), /FAIL: the data partition cannot be used/);
    t.match(JSON.parse(await ask(board, '/zeroforce/info')), { pairing_mode: false, version: pkg.version });
    t.notOk(existsSync(board.path('/data/maintenance')));
  });
});
