import { requestControl } from '../control/client.ts';
import { everPairedIn, installedKey } from '../device/pairing-parts.ts';
import { EFFECTS } from '../migrate/effects.ts';
import { proceed } from '../migrate/execute.ts';
import type { OurStatus, Tools } from '../migrate/facts.ts';
import { isUnderWay, readJournal } from '../migrate/journal.ts';
import { act } from '../migrate/machine.ts';
import { guard, takeLock } from '../migrate/worker.ts';
import { systemClock } from '../support/clock.ts';
import { EXIT } from './common.ts';
import { workerWords } from './migration-words.ts';

/** What the room `migrate` asks other rooms for. */
export const TOOLS: Tools = {
  installedKey,
  isMarked: (stateDir) => everPairedIn(stateDir).read(),
  markPaired: (stateDir) => everPairedIn(stateDir).remember(),
  status: async (runDir) => (await requestControl(runDir, 'GET /status')) as OurStatus,
};

/** The process apart from the terminal: it brings the migration of a state folder to its end. */
export async function migrationWorker([part = '', stateDir = '']: readonly string[]): Promise<void> {
  process.umask(0o022);
  // Its starter may be a session that ends, with all that hangs on it.
  for (const signal of ['SIGHUP', 'SIGINT', 'SIGPIPE'] as const) process.on(signal, () => undefined);
  process.exitCode = await (part === 'guard' ? guard(workerWords('work', stateDir)) : work(stateDir)).catch(
    () => EXIT.failed, // what it could not write down, nobody can read
  );
}

async function work(stateDir: string): Promise<number> {
  const release = await takeLock(stateDir);
  try {
    const journal = await readJournal(stateDir);
    if (journal === null || !isUnderWay(journal)) return EXIT.ok;
    const say = (sentence: string) => void act(['logger', '-t', 'zeroforce', `migration: ${sentence}`]);
    const end = await proceed(journal, { stateDir, effects: EFFECTS, tools: TOOLS, clock: systemClock, say });
    return end.phase === 'done' && end.failure === null ? EXIT.ok : EXIT.failed;
  } finally {
    await release();
  }
}
