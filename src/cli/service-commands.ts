import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type LoadedConfig, type LoadOptions, loadConfig, rememberGoodConfig } from '../config/load.ts';
import { OPTIONS } from '../config/options.ts';
import { oneLine } from '../device/one-line.ts';
import { createMonitor, Device, LOOP_STANDS } from '../device.ts';
import { Reloader } from '../reload.ts';
import { systemClock } from '../support/clock.ts';
import { asFailure, FAILURES } from '../support/failures.ts';
import { createLog, type Log } from '../support/log.ts';
import { type CommonOptions, configSource, EXIT } from './common.ts';
import { workerWords } from './migration-words.ts';
import { examineInOwnProcess } from './self-diagnosis.ts';
import { createNotifier, takeManager } from './service-manager.ts';
import { stopSignal } from './stop-signal.ts';

/** A stop takes well under this; where it does not, the process ends all the same. */
const STOP_DEADLINE_MS = 15_000;
/** Nobody else may write to what the service makes, or talk to its socket, whatever the init system had set. */
const OWN_FILES_UMASK = 0o022;

/** `run`: the whole service, until a signal. */
export async function run(options: CommonOptions, version: string): Promise<number> {
  process.umask(OWN_FILES_UMASK);
  const manager = takeManager();
  const waited = await migrationFirst(options);
  const { source, loaded, loadAgain } = await loadSettings(options);
  const log = createLog(loaded.config.logLevel);
  if (waited !== null) log.warn(waited);
  const signal = stopSignal(log, STOP_DEADLINE_MS);
  logNotices(loaded, log);

  const { config, notices } = loaded;
  const device = new Device({ config, notices, examine: examineInOwnProcess(source), version, log });
  const notifier = createNotifier(manager, (limitMs) => device.look(limitMs), { clock: systemClock, log });
  const onApplied = (next: LoadedConfig) => remember(next, log);
  const reloader = new Reloader({ target: device, loaded, load: loadAgain, onApplied, clock: systemClock, log });
  const reload = () => void reloader.reload();
  process.on('SIGHUP', reload);
  notifier?.start();
  try {
    const ready = await Promise.race([device.start().then(() => true), signal.then(() => false)]);
    if (ready) {
      await remember(loaded, log);
      reloader.start();
      void notifier?.ready();
    }
    await signal;
  } catch (error) {
    await device.stop();
    throw error;
  }
  const told = notifier?.stop();
  await reloader.stop();
  const problems = await device.stop();
  for (const { name, problem } of problems) log.error({ err: problem }, `${name} did not stop cleanly`);
  await told;
  log.info('stopped');
  return problems.length === 0 ? EXIT.ok : EXIT.failed;
}

/** `monitor`: only the flag file, for a device whose pairing is another program's. */
export async function monitor(options: CommonOptions): Promise<number> {
  process.umask(OWN_FILES_UMASK);
  const manager = takeManager();
  const { loaded } = await loadSettings(options);
  const log = createLog(loaded.config.logLevel);
  const signal = stopSignal(log, STOP_DEADLINE_MS);
  logNotices(loaded, log);
  process.on('SIGHUP', () => log.warn('the monitor alone reads its configuration at the start only; restart it'));

  const activityMonitor = createMonitor(loaded.config, { clock: systemClock, log });
  const look = async () => ({
    status: oneLine({ monitor: activityMonitor.status().observation?.kind ?? 'starting' }),
    stuck: activityMonitor.isTurning() ? null : LOOP_STANDS,
  });
  const notifier = createNotifier(manager, look, { clock: systemClock, log });
  notifier?.start();
  await activityMonitor.start();
  void notifier?.ready();
  await signal;
  await Promise.all([notifier?.stop(), activityMonitor.stop()]);
  return EXIT.ok;
}

/**
 * A migration that a power cut has cut off goes on first: the software deployed before may hold the tunnel at this moment,
 * and the configuration may not be written yet. @returns what was waited for
 */
async function migrationFirst(options: CommonOptions): Promise<string | null> {
  const loaded = await loadConfig(configSource(options)).catch(() => null);
  const stateDir = loaded?.config.stateDir ?? OPTIONS.stateDir.default;
  if (!existsSync(join(stateDir, 'migration.json'))) return null;
  const { settleMigration } = await import('../migrate/worker.ts');
  return settleMigration(stateDir, workerWords('guard', stateDir), systemClock);
}

async function loadSettings(
  options: CommonOptions,
): Promise<{ source: LoadOptions; loaded: LoadedConfig; loadAgain: () => Promise<LoadedConfig> }> {
  const source = { ...configSource(options), env: { ...process.env } };
  const loaded = await loadConfig(source);
  // netstat and other children have no business with them
  delete process.env.MEETING_TOKEN;
  delete process.env.ZEROFORCE_SSH_TOKEN;

  // A file that was there and is gone was hardly removed to make a running device forget its identity.
  let mustExist = source.mustExist === true || loaded.origin === 'file' || loaded.origin === 'last-good';
  const loadAgain = async () => {
    const next = await loadConfig({ ...source, mustExist, strict: true });
    mustExist ||= next.origin === 'file';
    return next;
  };
  return { source, loaded, loadAgain };
}

/** A device that runs on its last good configuration must be noticed; all else is for whoever reads the log. */
function logNotices({ notices }: LoadedConfig, log: Log): void {
  for (const { code, sentence } of notices) {
    log[code === 'config.last-good' ? 'error' : 'warn']({ code, remedy: FAILURES[code] }, sentence);
  }
}

async function remember(loaded: LoadedConfig, log: Log): Promise<void> {
  try {
    await rememberGoodConfig(loaded);
  } catch (error) {
    const { code, remedy, message } = asFailure(error, 'state.unwritable');
    log.error({ code, remedy }, message);
  }
}
