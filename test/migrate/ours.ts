import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Test } from 'tap';
import { bundle } from '../../scripts/bundle.ts';
import type { Board } from '../install/board.ts';

const PACKAGE = resolve(import.meta.dirname, '../../../board/package/zeroforce-agent');

/** Our program on a board, as every way of installing puts it there. */
export async function installProgram(t: Test, board: Board): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'zeroforce-bundle-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const program = await bundle(join(folder, 'zeroforce/tunnel-agent.cjs'));
  await board.put(join(program, '..'), '/usr/lib/zeroforce');
  await board.must(
    'chmod 755 /usr/lib/zeroforce/tunnel-agent; ln -sf ../lib/zeroforce/tunnel-agent /usr/bin/tunnel-agent',
  );
}

/** The same with its units, neither enabled nor started: that is how an installer leaves it beside deployed software. */
export async function installUnits(t: Test, board: Board): Promise<void> {
  await installProgram(t, board);
  for (const name of ['zeroforce.service', 'zeroforce-sshd.service']) {
    await board.put(join(PACKAGE, name), `/usr/lib/systemd/system/${name}`);
  }
  await board.must('mkdir -p /etc/zeroforce');
}

/** The same with its init script for BusyBox, which no runlevel starts yet, and Node, which Debian 12 has not. */
export async function installScripts(t: Test, board: Board): Promise<void> {
  await installProgram(t, board);
  await board.put(process.execPath, '/usr/bin/node');
  for (const name of ['zeroforce-supervise', 'zeroforce-sshd']) {
    await board.put(join(PACKAGE, name), `/usr/lib/zeroforce/${name}`);
  }
  await board.put(join(PACKAGE, 'S70zeroforce'), '/etc/init.d/K70zeroforce');
  await board.must('chmod 755 /etc/init.d/K70zeroforce /usr/lib/zeroforce/zeroforce-*; mkdir -p /etc/zeroforce');
}

/** The same for OpenRC, in no runlevel yet. */
export async function installOpenrc(t: Test, board: Board): Promise<void> {
  await installScripts(t, board);
  await board.must('rm /etc/init.d/K70zeroforce');
  await board.put(join(PACKAGE, 'zeroforce.openrc'), '/etc/init.d/zeroforce');
  await board.must('chmod 755 /etc/init.d/zeroforce');
}
