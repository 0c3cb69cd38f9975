import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import t from 'tap';
import { run } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { until } from '../support/until.ts';
import { makeBoard, NEEDS_BOARD } from './board.ts';
import { POWER_CUTS } from './power-cuts.ts';
import { INSTALLER, stubBoard, stubReleases } from './stub-board.ts';

interface Step {
  name: string;
  does: string;
  cut: string;
}

/** `install.sh steps`: what the installer says that it does. */
async function steps(): Promise<Step[]> {
  const { stdout } = await run('sh', [INSTALLER, 'steps']);
  return stdout
    .trimEnd()
    .split('\n')
    .map((line) => {
      const [name = '', does = '', cut = ''] = line.split('\t');
      return { name, does, cut };
    });
}

t.test('the page tells the same steps as the installer', async (t) => {
  const page = readFileSync(resolve(import.meta.dirname, '../../../docs/install/upgrade.md'), 'utf8');
  const rows = page.split('\n').filter((line) => /^\| `[a-z]+` \|/.test(line));
  t.strictSame(
    rows,
    (await steps()).map(({ name, does, cut }) => `| \`${name}\` | ${does} | ${cut} |`),
  );
});

t.test('a power cut at the start of each step leaves a version that runs', requires(...NEEDS_BOARD), async (t) => {
  const onBoard = await stubBoard(t);
  const inJournal = (await steps()).slice(3);
  // The steps before the journal: unpacking, renaming, the new installer.
  const places = ['4', '9', '12', ...inJournal.map(({ name }) => name)];
  const { stdout, stderr } = await onBoard(`${POWER_CUTS}
    installed; keep_disk
    for where in ${places.join(' ')}; do cut_at upgrade /releases/zeroforce-agent-1.1.tar.gz $where; done
    cut_at upgrade /releases/zeroforce-agent-1.3.tar.gz prove
    upgrade 1.1 >/dev/null; echo "and then: $(running) $(sound)"`);
  const expected = [
    ...['4', '9', '12'].map((where) => `${where} before: 1.0 `),
    ...inJournal.map(({ name, cut }) => `${name} ${name}: ${/new version runs/.test(cut) ? '1.1' : '1.0'} `),
    'prove prove: 1.0 ',
    'and then: 1.1 ',
  ];
  t.strictSame(
    stdout
      .trimEnd()
      .split('\n')
      .map((line) => line.trimEnd()),
    expected.map((line) => line.trimEnd()),
    stderr,
  );
});

for (const init of ['systemd', 'openrc', 'busybox'] as const) {
  t.test(`${init} takes back at boot what the power cut has interrupted`, requires(...NEEDS_BOARD), async (t) => {
    const board = await makeBoard(t, 'bookworm');
    await board.put(await stubReleases(t), '/releases');
    await board.write('/usr/local/bin/node', '#!/bin/sh\necho v20.19.2\n', 0o755);
    await board.boot(init);
    await board.must('sh /releases/zeroforce-agent-1.0/install.sh install --steady 0 --within 5');
    const upgrade = board.sh('sh /opt/zeroforce/install.sh upgrade /releases/zeroforce-agent-1.2.tar.gz');
    await until('the proof', async () => (await board.sh('grep -q "^step prove" /opt/zeroforce/journal')).code === 0);
    await board.cut();
    await upgrade;
    await board.boot(init);
    t.match(await board.must('cat /run/stub-status'), /"version": "1\.0"/);
    const status = await board.must('sh /opt/zeroforce/install.sh status');
    t.match(
      status,
      /version: +1\.0\n[\s\S]*upgrade to version 1\.2 was interrupted in the step prove, and was taken back/,
    );
    t.notMatch(status, /edited|now:/);
    await board.must('sh /opt/zeroforce/install.sh uninstall --purge');
    t.equal((await board.sh('ls /etc/init.d /etc/systemd/system | grep zeroforce; ls /opt/zeroforce')).stdout, '');
  });
}
