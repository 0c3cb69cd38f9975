import { MANAGER_VARIABLES, type Manager, managerOf } from '../systemd/manager.ts';
import { Notifier, type NotifierOptions } from '../systemd/notifier.ts';
import { systemdNotify } from '../systemd/systemd-notify.ts';

/** systemd, where it waits to hear of this process; out of the environment, so that no child hears of it. */
export function takeManager(): Manager | null {
  const manager = managerOf(process.env, process.pid);
  for (const name of MANAGER_VARIABLES) delete process.env[name];
  return manager;
}

/** Null where nobody waits. */
export function createNotifier(
  manager: Manager | null,
  look: NotifierOptions['look'],
  { clock, log }: Pick<NotifierOptions, 'clock' | 'log'>,
): Notifier | null {
  if (manager === null) return null;
  const { socket, watchdogMs } = manager;
  return new Notifier({ watchdogMs, say: systemdNotify(socket, clock), look, clock, log });
}
