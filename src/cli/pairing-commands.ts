import { randomInt } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { type LoadedConfig, loadConfig } from '../config/load.ts';
import { requestControl } from '../control/client.ts';
import {
  type AuditRecord,
  auditWithoutService,
  endSessions,
  resetWithoutService,
  type SessionsEnd,
} from '../device/pairing-parts.ts';
import type { DeviceStatus } from '../device.ts';
import { Failure } from '../support/failures.ts';
import { createLog, type Log } from '../support/log.ts';
import { type CommonOptions, configSource, EXIT } from './common.ts';
import { auditText, pairingText } from './pairing-text.ts';
import { ask, canAsk } from './prompts.ts';
import type { Style } from './style.ts';

type Config = LoadedConfig['config'];

/**
 * A change waits for those before it, each of which may look at a netstat that hangs, end sessions, and sync a card. Who
 * is told too early that nobody answers does not see the PIN that is in force a moment later.
 */
const CHANGE_TIMEOUT_MS = 30_000;
/** `pairing pin` makes PINs of so many digits: 20 guesses hit one in 5 million. */
const PIN_DIGITS = 8;
const PIN_INPUT_MAX_BYTES = 1024;

/** `pairing status`: the state of pairing alone. */
export async function pairingStatus(options: CommonOptions & { json?: true }, style: Style): Promise<number> {
  const { config } = await loadConfig(configSource(options));
  const { pairing } = (await requestControl(config.runDir, 'GET /status')) as DeviceStatus;
  process.stdout.write(options.json ? toJson(pairing) : pairingText(pairing, style));
  return EXIT.ok;
}

/** `pairing open`: anybody may set one key, for a short time. */
export async function pairingOpen(options: CommonOptions): Promise<number> {
  const { config } = await loadConfig(configSource(options));
  const answer = await requestControl(config.runDir, 'POST /pairing/open', { timeoutMs: CHANGE_TIMEOUT_MS });
  const { seconds } = answer as { seconds: number };
  process.stdout.write(`Pairing is open for ${seconds} s, for one key.\n`);
  return EXIT.ok;
}

/**
 * `pairing reset`: by the service, or on its files where none runs.
 * @param refuse ends the command as a wrong command line, where nobody can be asked
 */
export async function pairingReset(
  options: CommonOptions & { yes?: true },
  refuse: (sentence: string) => never,
): Promise<number> {
  const { config } = await loadConfig(configSource(options));
  if (!options.yes) {
    if (!canAsk()) refuse("error: option '--yes' is needed where nobody can be asked");
    if (!(await confirmed())) {
      process.stderr.write('Nothing was changed.\n');
      return EXIT.failed;
    }
  }
  const byService = await withService(
    async () =>
      (await requestControl(config.runDir, 'POST /pairing/reset', { timeoutMs: CHANGE_TIMEOUT_MS })) as SessionsEnd,
    () => resetFiles(config),
  );
  const { ended, left, hidden = 0 } = byService.hidden > 0 ? await endSessions(config) : byService;
  process.stdout.write('Pairing was reset: the key is removed, and the device counts as never paired.\n');
  if (ended > 0) process.stdout.write('The tunnel of that key was ended.\n');
  if (left.length > 0) {
    process.stderr.write(`These processes still hold the tunnel, end them by hand: ${left.join(', ')}\n`);
  }
  if (hidden > 0) process.stderr.write('The tunnel of that key still stands; end it as root, by the same command.\n');
  return left.length + hidden === 0 ? EXIT.ok : EXIT.failed;
}

/** `pairing pin`: makes a PIN and shows it this once, takes one from standard input, or removes it. */
export async function pairingPin(options: CommonOptions & { stdin?: true; remove?: true }): Promise<number> {
  const { config } = await loadConfig(configSource(options));
  const made = String(randomInt(10 ** PIN_DIGITS)).padStart(PIN_DIGITS, '0');
  const pin = options.remove ? null : options.stdin ? await readPin() : made;
  const change = { body: { pin }, timeoutMs: CHANGE_TIMEOUT_MS };
  const { policy } = (await requestControl(config.runDir, 'POST /pairing/pin', change)) as {
    policy: Config['pairing']['policy'];
  };
  if (pin === null) process.stdout.write('The PIN was removed.\n');
  else if (options.stdin) process.stdout.write('The new PIN was set.\n');
  else process.stdout.write(`The new PIN is ${made}\nIt is not stored as it is here, and cannot be shown again.\n`);
  if (pin !== null && policy !== 'pin') {
    process.stderr.write(`The policy is ${policy}, so nobody is asked for it; see ZEROFORCE_PAIRING_POLICY.\n`);
  }
  if (pin === null && policy === 'pin') {
    process.stderr.write('The policy is pin, so nobody can pair; see ZEROFORCE_PAIRING_POLICY.\n');
  }
  return EXIT.ok;
}

/** `pairing audit`: who changed what, the newest last. */
export async function pairingAudit(options: CommonOptions & { json?: true }, style: Style): Promise<number> {
  const { config } = await loadConfig(configSource(options));
  const records = await withService(
    async () => (await requestControl(config.runDir, 'GET /pairing/audit')) as AuditRecord[],
    () => auditWithoutService(config, errorsOnly),
  );
  process.stdout.write(options.json ? toJson(records) : auditText(records, style));
  return EXIT.ok;
}

const toJson = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;

/** What the parts have to say while no service runs, without the form of its log. */
const errorsOnly: Log = createLog('error', {
  write: (text) => void process.stderr.write(`tunnel-agent: ${(JSON.parse(text) as { msg: string }).msg}\n`),
});

async function withService<T>(request: () => Promise<T>, without: () => Promise<T>): Promise<T> {
  try {
    return await request();
  } catch (error) {
    if (error instanceof Failure && error.code === 'service.not-running') return without();
    throw error;
  }
}

/** Files that another user made here would be closed to the service. */
async function resetFiles(config: Config): Promise<SessionsEnd> {
  const owner = (await stat(config.stateDir).catch(() => null))?.uid ?? 0;
  if (owner !== process.geteuid?.()) {
    throw new Failure(
      'service.not-permitted',
      `no service runs, and ${config.stateDir} belongs to user ${owner}, not to this one; start the service, or be that user`,
    );
  }
  return resetWithoutService(config, errorsOnly);
}

async function confirmed(): Promise<boolean> {
  process.stderr.write(
    `This removes the paired key of ${hostname()}, ends its tunnel, and opens pairing as on a new device.\n`,
  );
  const answer = await ask('Type yes to go on: ', { hidden: false, signal: new AbortController().signal });
  return answer?.trim().toLowerCase() === 'yes';
}

/** The first line of standard input: arguments could be read by every user of the machine. */
async function readPin(): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > PIN_INPUT_MAX_BYTES || chunk.includes('\n')) break;
  }
  const [first = ''] = Buffer.concat(chunks).subarray(0, PIN_INPUT_MAX_BYTES).toString('utf8').split('\n');
  return first.trim();
}
