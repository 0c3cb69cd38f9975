import t from 'tap';
import { requires } from '../support/requires.ts';
import { PROGRAM } from '../support/service.ts';
import { expectCause, expectHealthy, machine, NEEDS_MACHINE } from './machine.ts';

const ALONE = ['--no-network'];
const STATE = '/var/lib/zeroforce';
const CONFIG = { mdns: { enabled: false }, monitor: { intervalSeconds: 0.2 } };

t.test('where the service has to write', requires(...NEEDS_MACHINE), async (t) => {
  const device = await machine(t);
  await device.sshd();
  await device.configure(CONFIG);
  const service = await device.service();
  /** A disk of its own in the place of a folder, for the time of a test. */
  const onDisk = async (folder: string, options: string, fill: string, test: () => Promise<void>) => {
    await device.sh(`mount -t tmpfs -o mode=700,${options} tmpfs ${folder}; cd ${folder}; ${fill}`);
    await test();
    await device.sh(`umount ${folder}`);
  };

  await t.test('the disk of the state folder is full', () =>
    onDisk(STATE, 'size=128k', 'cat /dev/zero >fill 2>/dev/null || true', async () => {
      expectCause(
        t,
        await device.diagnose(ALONE),
        'disk.writable',
        /state folder \/var\/lib\/zeroforce is full: 0\.0 MiB/,
      );
    }),
  );

  await t.test('it has space, and no inode', () =>
    onDisk(STATE, 'size=1m,nr_inodes=8', 'i=0; while touch f$i 2>/dev/null; do i=$((i+1)); done', async () => {
      const found = await device.diagnose(ALONE);
      expectCause(t, found, 'disk.writable', /takes no more files: 1\.0 MiB of 1\.0 MiB, 0 of 8 inodes are free/);
      t.match(found.check('disk.writable').remedy, /df -i/);
    }),
  );

  await t.test('it is read-only', () =>
    onDisk(STATE, 'size=1m', `mount -o remount,ro ${STATE}`, async () => {
      expectCause(t, await device.diagnose(ALONE), 'disk.writable', /state folder \/var\/lib\/zeroforce is read-only/);
    }),
  );

  await t.test('the folder of the key is full', () =>
    onDisk('/root/.ssh', 'size=64k', 'cat /dev/zero >fill 2>/dev/null || true', async () => {
      expectCause(t, await device.diagnose(ALONE), 'disk.writable', /folder of the key \/root\/\.ssh is full/);
    }),
  );

  await t.test('the state folder is a file', async (t) => {
    await device.sh(`mv ${STATE} ${STATE}.kept; touch ${STATE}`);
    expectCause(t, await device.diagnose(ALONE), 'disk.writable', /cannot be written: .*not a/);
    await device.sh(`rm ${STATE}; mv ${STATE}.kept ${STATE}`);
  });

  await t.test('nearly full is a warning', () =>
    onDisk(STATE, 'size=1m,nr_inodes=2000', 'seq 1950 | xargs touch', async () => {
      const found = await device.diagnose(ALONE);
      t.ok(found.report.ok);
      t.match(found.check('disk.writable'), { status: 'warn', summary: /nearly full: .*, 4\d of 2000 inodes/ });
    }),
  );

  await t.test('healthy: everything but state and run folder is read-only, and who is paired comes in', () =>
    onDisk('/root/.ssh', 'size=64k', 'mount -o remount,ro /root/.ssh', async () => {
      const found = await device.diagnose(ALONE);
      expectHealthy(t, found, ['disk.writable']);
      t.match(found.check('disk.writable'), { status: 'warn', summary: /nobody new can be paired/ });
    }),
  );

  await t.test('healthy: a small disk, and nothing is left behind', () =>
    onDisk(STATE, 'size=64k', ':', async () => {
      expectHealthy(t, await device.diagnose(ALONE));
      const { stdout } = await device.sh(`find ${STATE} /root/.ssh /run/zeroforce -name '*diagnose*'`);
      t.equal(stdout, '');
    }),
  );

  await t.test('input and output errors, and a quota', requires('strace', 'ptrace'), async (t) => {
    const failing = async (error: string) => {
      const trace = ['-f', '-qq', '-o', '/dev/null', '-e', 'trace=fsync', '-e', `inject=fsync:error=${error}`];
      const { stdout } = await device.sh(`strace ${trace.join(' ')} ${PROGRAM} diagnose --json --no-network || true`);
      const report = JSON.parse(stdout);
      return { code: 1, report, check: (id: string) => report.checks.find((check: { id: string }) => check.id === id) };
    };
    expectCause(t, await failing('EIO'), 'disk.writable', /cannot be written: i\/o error/);
    expectCause(t, await failing('EDQUOT'), 'disk.writable', /quota .* is used up/);
  });

  await service.stop();

  await t.test('the run folder is full: the monitor cannot write, and only the disk is the cause', async (t) => {
    await device.sh('mkdir -p /run/zeroforce; mount -t tmpfs -o mode=755,size=16k tmpfs /run/zeroforce');
    const full = await device.service();
    await device.sh('cat /dev/zero >/run/zeroforce/fill 2>/dev/null || true; sleep 0.5');
    const found = await device.diagnose(ALONE);
    expectCause(t, found, 'disk.writable', /run folder \/run\/zeroforce is full/);
    t.match(found.check('monitor.fresh'), {
      status: 'skip',
      summary: /because of disk\.writable: .*cannot do its work/,
    });
    await full.stop();
    await device.sh('umount /run/zeroforce');
  });

  await t.test('the unit of the service shows it a read-only home, and only the service', async (t) => {
    const protect = 'mount --bind /root /root; mount -o remount,ro,bind /root';
    const command = `${protect}; exec ${PROGRAM} run`;
    const sandboxed = await device.start(['unshare', '-m', 'sh', '-c', command], /"the service is ready"/);
    expectCause(t, await device.diagnose(ALONE), 'disk.writable', /\/root\/\.ssh is read-only for the service alone/);
    await sandboxed.stop();
  });
});
