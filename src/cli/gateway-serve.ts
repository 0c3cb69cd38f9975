import { loadGatewayConfig } from '../config/gateway.ts';
import { Gateway } from '../gateway.ts';
import { systemClock } from '../support/clock.ts';
import { FAILURES } from '../support/failures.ts';
import { createLog } from '../support/log.ts';
import { EXIT } from './common.ts';
import { createNotifier, takeManager } from './service-manager.ts';
import { stopSignal } from './stop-signal.ts';

/** Far above the time of a drain and of all parts; below the 90 s after which systemd kills. */
const STOP_DEADLINE_MS = 75_000;
/** What the gateway keeps is nobody else's. */
const OWN_FILES_UMASK = 0o077;

/** `serve`: the gateway, until a signal. */
export async function serveGateway({ emptyStore = false }: { emptyStore?: boolean }, version: string): Promise<number> {
  process.umask(OWN_FILES_UMASK);
  const manager = takeManager();
  const { config, notices } = loadGatewayConfig(process.env);
  delete process.env.GATEWAY_ADMIN_TOKEN;
  const log = createLog(config.logLevel);
  const hurry = new AbortController();
  const signal = stopSignal(log, STOP_DEADLINE_MS, () => {
    log.warn('a second signal: what is open is cut off');
    hurry.abort();
  });
  for (const { code, sentence } of notices) log.warn({ code, remedy: FAILURES[code] }, sentence);

  const gateway = new Gateway({ config, version, emptyStore, log });
  // Its event loop turns: nothing else of it would be better after a restart, which cuts off every device.
  const look = async () => ({ status: gateway.words(), stuck: null });
  const notifier = createNotifier(manager, look, { clock: systemClock, log });
  process.on('SIGHUP', () => gateway.reload());
  try {
    const ready = await Promise.race([gateway.start().then(() => true), signal.then(() => false)]);
    if (ready) void notifier?.ready();
    await signal;
  } catch (error) {
    await gateway.stop(hurry.signal);
    throw error;
  }
  const told = notifier?.stop();
  const problems = await gateway.stop(hurry.signal);
  await told;
  for (const { name, problem } of problems) log.error({ err: problem }, `${name} did not stop cleanly`);
  log.info('stopped');
  return problems.length === 0 ? EXIT.ok : EXIT.failed;
}
