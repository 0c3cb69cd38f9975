import t from 'tap';
import { requires } from '../support/requires.ts';
import { NEEDS_BOARD } from './board.ts';
import { needsFor, tryInstaller } from './installer-flow.ts';
import { POWER_CUTS } from './power-cuts.ts';
import { releases } from './releases.ts';
import { stubBoard } from './stub-board.ts';

const make = await releases(t);
for (const init of ['systemd', 'openrc', 'busybox'] as const) {
  t.test(`${init}: everything that install.sh can do`, needsFor(init), async (t) => {
    await tryInstaller(t, init, { make, parts: ['upgrade', 'exits', 'untunnelled', 'cut', 'rollback'] });
  });
}

for (const [what, command, from, to] of [
  ['an upgrade', 'upgrade /releases/zeroforce-agent-1.1.tar.gz', '1.0', '1.1'],
  ['an upgrade that is taken back', 'upgrade /releases/zeroforce-agent-1.3.tar.gz', '1.0', '1.0'],
  ['a rollback', 'rollback -', '1.1', '1.0'],
] as const) {
  t.test(`a power cut at every command of ${what}`, requires(...NEEDS_BOARD), async (t) => {
    const onBoard = await stubBoard(t);
    const { stdout } = await onBoard(
      `${POWER_CUTS}
      installed; ${from === '1.1' ? 'upgrade 1.1 >/dev/null;' : ''} keep_disk
      count=1; while cut_at ${command.replace(' -', " ''")} $count; do count=$((count + 1)); done`,
      600_000,
    );
    const lines = stdout
      .trimEnd()
      .split('\n')
      .filter((line) => /^\d|^ended|^but|^and|^with/.test(line));
    t.ok(lines.length > 40, `${lines.length} commands`);
    t.match(lines.pop(), from === to ? /^ended 3/ : /^ended 0/);
    t.strictSame(
      lines.filter((line) => !/^\d+ [a-z]+: 1\.[01] $/.test(line)),
      [],
      'every boot had one whole version',
    );
    // Once the new version is kept it stays: before that the old one, after that never again.
    const versions = lines.map((line) => / (1\.[01]) $/.exec(line)?.[1]);
    t.strictSame(versions, [...versions].sort(from < to ? undefined : (a = '', b = '') => b.localeCompare(a)));
  });
}
