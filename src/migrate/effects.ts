import { runningProgram, runningPrograms } from '../support/running-programs.ts';
import { askStatus } from './application.ts';
import { make } from './change.ts';
import type { Effects } from './execute.ts';
import { keepFlag, readFlag } from './flag.ts';
import { act, leaveRunning } from './machine.ts';
import { enableOurs, startOurs } from './ours.ts';
import { isOurs, programOfWords } from './recognise.ts';

/** The steps on this machine. */
export const EFFECTS: Effects = {
  make,
  reread: async (init) => {
    if (init === 'systemd') await act(['systemctl', 'daemon-reload']);
  },
  enableOurs,
  startOurs,
  act: async (argv, leave) => {
    // Whether it did what it is for, the programs tell: a script may end with anything.
    if (leave === undefined) await act(argv);
    else leaveRunning(argv);
  },
  running: (parts) => {
    const names = new Set(parts.filter(({ role }) => role !== 'sshd').map(({ program }) => baseName(program)));
    return runningPrograms().filter(({ words, state }) => {
      const program = programOfWords(words);
      return state !== 'Z' && program !== null && names.has(baseName(program)) && !isOurs(words);
    });
  },
  kill: ({ pid, startTicks }, signal) => {
    if (runningProgram(pid)?.startTicks !== startTicks) return; // the number is another program's now
    try {
      process.kill(pid, signal);
    } catch {
      // it has just ended
    }
  },
  readFlag,
  keepFlag,
  pairingAnswers: async () => (await askStatus(5000, '/zeroforce/readytopair')) !== null,
};

const baseName = (path: string) => path.slice(path.lastIndexOf('/') + 1);
