import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  FLAG_NAME,
  readFlag,
  SINCE_CONNECTED_NAME,
  writeFlag,
  writeSinceConnected,
} from '../../src/monitor/flag-file.ts';
import { requires } from '../support/requires.ts';

/** A run folder that does not exist yet, and the paths in it. */
function place(t: Test) {
  const parent = mkdtempSync(join(tmpdir(), 'flag-'));
  t.teardown(() => rmSync(parent, { recursive: true, force: true }));
  const runDir = join(parent, 'zeroforce');
  return { parent, runDir, flag: join(runDir, FLAG_NAME), since: join(runDir, SINCE_CONNECTED_NAME) };
}

const modeOf = (path: string) => lstatSync(path).mode & 0o7777;

t.test('the flag comes and goes, in a folder made for it that only the service may write to', async (t) => {
  const { runDir, flag } = place(t);
  t.equal(readFlag(runDir), 'absent');
  await writeFlag(runDir, 'present');
  t.equal(readFlag(runDir), 'present');
  t.ok(lstatSync(flag).isFile());
  t.ok([0o755, 0o700].includes(modeOf(runDir)));
  t.equal(modeOf(flag) & 0o022, 0);
  await writeFlag(runDir, 'absent');
  t.equal(readFlag(runDir), 'absent');
  t.strictSame(readdirSync(runDir), []);
});

t.test('a run folder several levels down is made too', async (t) => {
  const { runDir } = place(t);
  await writeFlag(join(runDir, 'a', 'b'), 'present');
  t.equal(readFlag(join(runDir, 'a', 'b')), 'present');
});

t.test('a flag that is right already is not touched', async (t) => {
  const { runDir, flag } = place(t);
  await writeFlag(runDir, 'present');
  const before = lstatSync(flag, { bigint: true });
  await writeFlag(runDir, 'present');
  const after = lstatSync(flag, { bigint: true });
  t.equal(after.ino, before.ino);
  t.equal(after.ctimeNs, before.ctimeNs);
});

t.test("since-connected holds whole seconds, and no temporary file stays, not even a killed run's", async (t) => {
  const { runDir, since } = place(t);
  await writeSinceConnected(runDir, 0);
  t.equal(readFileSync(since, 'utf8'), '0\n');
  writeFileSync(join(runDir, '.since-connected.tmp'), 'of a run that was killed');
  await writeSinceConnected(runDir, 4711);
  t.equal(readFileSync(since, 'utf8'), '4711\n');
  t.strictSame(readdirSync(runDir), [SINCE_CONNECTED_NAME]);
});

t.test(
  'entries that are links: they count as present, are replaced or removed, and their target is untouched',
  async (t) => {
    const { parent, runDir, flag, since } = place(t);
    const victim = join(parent, 'victim');
    writeFileSync(victim, 'precious');
    const before = statSync(victim, { bigint: true });
    mkdirSync(runDir);

    symlinkSync(victim, flag);
    t.equal(readFlag(runDir), 'present');
    await writeFlag(runDir, 'present');
    t.ok(lstatSync(flag).isFile(), 'the link became a file');

    rmSync(flag);
    symlinkSync(victim, flag);
    await writeFlag(runDir, 'absent');
    t.throws(() => lstatSync(flag), { code: 'ENOENT' });

    symlinkSync(join(parent, 'nowhere'), flag);
    t.equal(readFlag(runDir), 'present', 'a link that leads nowhere counts as present');
    await writeFlag(runDir, 'present');
    t.ok(lstatSync(flag).isFile());
    t.notOk(existsSync(join(parent, 'nowhere')), 'nothing was made where the link led');

    symlinkSync(victim, since);
    symlinkSync(victim, join(runDir, '.since-connected.tmp'));
    await writeSinceConnected(runDir, 7);
    t.ok(lstatSync(since).isFile());
    t.equal(readFileSync(victim, 'utf8'), 'precious');
    t.equal(statSync(victim, { bigint: true }).mtimeNs, before.mtimeNs);
  },
);

t.test(
  'entries that are a FIFO or an empty folder are replaced without opening them',
  requires('mkfifo'),
  async (t) => {
    const { runDir, flag, since } = place(t);
    mkdirSync(runDir);
    execFileSync('mkfifo', [flag, since]);
    t.equal(readFlag(runDir), 'present');
    await writeFlag(runDir, 'present');
    await writeSinceConnected(runDir, 1);
    t.ok(lstatSync(flag).isFile());
    t.ok(lstatSync(since).isFile());

    rmSync(flag);
    mkdirSync(flag);
    t.equal(readFlag(runDir), 'present');
    await writeFlag(runDir, 'absent');
    t.equal(readFlag(runDir), 'absent');
  },
);

t.test('a flag that is a folder with files in it is reported, not emptied', async (t) => {
  const { runDir, flag } = place(t);
  mkdirSync(join(flag, 'files'), { recursive: true });
  await t.rejects(writeFlag(runDir, 'absent'), { code: 'monitor.flag-unwritable', message: /folder with files/ });
  await t.rejects(writeFlag(runDir, 'present'), { code: 'monitor.flag-unwritable' });
  t.ok(existsSync(join(flag, 'files')));
});

t.test('a run folder that is a link is refused, and reads as present', async (t) => {
  const { parent, runDir } = place(t);
  const elsewhere = join(parent, 'elsewhere');
  mkdirSync(elsewhere);
  symlinkSync(elsewhere, runDir);
  t.equal(readFlag(runDir), 'present');
  await t.rejects(writeFlag(runDir, 'present'), { code: 'run-dir.unwritable', message: /link/ });
  await t.rejects(writeSinceConnected(runDir, 1), { code: 'run-dir.unwritable' });
  t.strictSame(readdirSync(elsewhere), []);

  rmSync(runDir);
  symlinkSync(join(parent, 'nowhere'), runDir);
  await t.rejects(writeFlag(runDir, 'present'), { code: 'run-dir.unwritable' });
  t.notOk(existsSync(join(parent, 'nowhere')));
});

t.test('a run folder that is a file, or lies below one, is refused, and reads as present', async (t) => {
  const { runDir } = place(t);
  writeFileSync(runDir, '');
  for (const dir of [runDir, join(runDir, 'below')]) {
    t.equal(readFlag(dir), 'present');
    await t.rejects(writeFlag(dir, 'present'), { code: 'run-dir.unwritable' });
  }
});

t.test('a world-writable run folder is refused, sticky or not; one for a group is tightened', async (t) => {
  const { runDir } = place(t);
  mkdirSync(runDir);
  for (const mode of [0o777, 0o1777, 0o757]) {
    chmodSync(runDir, mode);
    await t.rejects(writeFlag(runDir, 'present'), { code: 'run-dir.unwritable', message: /anybody may write/ });
    t.equal(modeOf(runDir), mode);
  }
  t.strictSame(readdirSync(runDir), []);
  chmodSync(runDir, 0o775);
  await writeFlag(runDir, 'present');
  t.equal(modeOf(runDir), 0o755);
});

t.test('a run folder of another user is refused', requires('root'), async (t) => {
  const { runDir } = place(t);
  mkdirSync(runDir);
  chownSync(runDir, 65534, 65534);
  await t.rejects(writeFlag(runDir, 'present'), { code: 'run-dir.unwritable', message: /belongs to user 65534/ });
});

t.test('a run folder that vanishes is made again', async (t) => {
  const { runDir, since } = place(t);
  for (let round = 0; round < 3; round += 1) {
    await writeFlag(runDir, 'present');
    await writeSinceConnected(runDir, round);
    t.equal(readFlag(runDir), 'present');
    t.equal(readFileSync(since, 'utf8'), `${round}\n`);
    rmSync(runDir, { recursive: true });
  }
});

t.test('nothing world-writable comes of an umask of 0', async (t) => {
  const { runDir, flag } = place(t);
  const before = process.umask(0);
  t.teardown(() => process.umask(before));
  await writeFlag(runDir, 'present');
  t.equal(modeOf(runDir), 0o755);
  t.equal(modeOf(flag), 0o644);
});

/** Runs a flag function in a process of its own, under a mount that this process does not see. */
function inNamespace(mount: string, runDir: string, call: string): string {
  const module = new URL('../../src/monitor/flag-file.js', import.meta.url).href;
  const program = `
    const { writeFlag, writeSinceConnected } = await import(${JSON.stringify(module)});
    const runDir = ${JSON.stringify(runDir)};
    try { await ${call}; console.log('done'); } catch (error) { console.log(error.code); }`;
  const args = [
    '-m',
    'sh',
    '-c',
    `${mount} && exec "$@"`,
    'sh',
    process.execPath,
    '--input-type=module',
    '-e',
    program,
  ];
  return execFileSync('unshare', args, { encoding: 'utf8' }).trim();
}

t.test('a run folder on a read-only or a full file system is reported', requires('root', 'namespaces'), (t) => {
  const { runDir } = place(t);
  mkdirSync(runDir);
  const readOnly = `mount -t tmpfs -o ro,mode=0755 none ${runDir}`;
  t.equal(inNamespace(readOnly, runDir, "writeFlag(runDir, 'present')"), 'monitor.flag-unwritable');
  t.equal(inNamespace(readOnly, join(runDir, 'zeroforce'), "writeFlag(runDir, 'present')"), 'run-dir.unwritable');
  const full = `mount -t tmpfs -o size=4k,mode=0755 none ${runDir} && head -c 4096 /dev/zero >${runDir}/full`;
  t.equal(inNamespace(full, runDir, 'writeSinceConnected(runDir, 5)'), 'monitor.flag-unwritable');
  t.end();
});
