import { createHash } from 'node:crypto';
import { accessSync, constants } from 'node:fs';
import { readFile, rmdir } from 'node:fs/promises';
import { homedir, constants as osConstants, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { humanText, jsonLine, type PairEvent } from '../pair-client/events.ts';
import { DEFAULT_FORWARD, parseForward } from '../pair-client/forward.ts';
import { pair } from '../pair-client/pair.ts';
import { parseTarget } from '../pair-client/target.ts';
import { fileErrorReason } from '../support/atomic-file.ts';
import { systemClock } from '../support/clock.ts';
import { asFailure, Failure } from '../support/failures.ts';
import { createLog } from '../support/log.ts';
import { EXIT, exitCodeOf } from './common.ts';
import { ask, askNumber, canAsk } from './prompts.ts';
import type { Style } from './style.ts';

export interface PairCommandOptions {
  /** true: ask for it. A text: the PIN itself, or the HOST that stands behind `--pin`. */
  pin?: true | string;
  pinFile?: string;
  identity?: string;
  forward?: string[];
  user: string;
  httpPort?: string;
  tunnelPort?: string;
  once?: true;
  json?: true;
}

const PIN_FILE_MAX_BYTES = 64;
/** What a stop may take; a name that is just being looked up cannot be called back. */
const STOP_DEADLINE_MS = 5_000;

/** `pair`: what a Home Assistant add-on runs; the exit codes are in docs/pair-client.md. */
export async function pairCommand(
  hostArgument: string | undefined,
  options: PairCommandOptions,
  style: Style,
): Promise<number> {
  const { pinText, host } = takePin(hostArgument, options);
  const stop = stopSignals();
  const emit = printer(options.json === true, style, () => stop.by);
  let runFolder: string | null = null;
  try {
    const target = parseTarget(host);
    const identityFile = resolve(options.identity ?? join(homedir(), '.config/zeroforce/id_ed25519'));
    const folder = `zeroforce-pair-${digest(`${identityFile}\n${host ?? ''}`)}`;
    runFolder = join(runBase(), options.once ? `${folder}-once-${process.pid}` : folder);
    await pair(
      {
        target,
        identityFile,
        user: options.user,
        httpPort: portOf(options.httpPort),
        tunnelPort: portOf(options.tunnelPort),
        forwards: (options.forward ?? [DEFAULT_FORWARD]).map(parseForward),
        once: options.once === true,
        pin: (signal) => pinFrom(pinText, options, signal),
        choose: canAsk() ? (devices, signal) => askNumber(devices.length, signal) : null,
        runFolder,
        sshProgram: 'ssh',
        emit,
        clock: systemClock,
        random: Math.random,
        log: createLog('silent'),
      },
      stop.signal,
    );
  } catch (error) {
    const failure = asFailure(error);
    if (options.json) {
      emit({ event: 'failed', code: failure.code, sentence: failure.message, exitCode: exitCodeOf(failure) });
    }
    throw failure; // the text for people is written in one place
  } finally {
    // With --once each run has a folder of its own; the other one is that of whoever holds the tunnel.
    if (options.once && runFolder !== null) await rmdir(runFolder).catch(() => undefined);
  }
  if (stop.by === null) return EXIT.ok;
  const exitCode = 128 + osConstants.signals[stop.by];
  emit({ event: 'stopped', signal: stop.by, exitCode });
  return exitCode;
}

/**
 * A PIN on the command line can be read by everybody on this machine until it is taken away here; it is accepted because
 * it is what one tries first, and with a warning. `--pin HOST` is meant as `--pin` and HOST: no host is all digits.
 */
function takePin(
  hostArgument: string | undefined,
  { pin }: PairCommandOptions,
): { pinText: string | null; host: string | undefined } {
  if (pin === undefined || pin === true) return { pinText: null, host: hostArgument };
  if (!/^[\d -]+$/.test(pin)) {
    if (hostArgument !== undefined) throw new Failure('pair.pin-needed', 'what stands behind --pin is no PIN');
    return { pinText: null, host: pin };
  }
  process.title = 'tunnel-agent'; // writes over the arguments
  process.stderr.write(
    'tunnel-agent: a PIN on the command line can be seen by others, and stays in the history of the shell; use --pin alone, --pin-file or ZEROFORCE_PIN\n',
  );
  return { pinText: pin, host: hostArgument };
}

/** @throws Failure `pair.pin-needed` without a digit of it */
async function pinFrom(
  given: string | null,
  { pin, pinFile }: PairCommandOptions,
  signal: AbortSignal,
): Promise<string | null> {
  if (given !== null) return checkedPin(given, 'behind --pin');
  if (pinFile !== undefined) return checkedPin(await readPinFile(pinFile), `in ${pinFile}`);
  if (pin === undefined && ENVIRONMENT_PIN !== null) return checkedPin(ENVIRONMENT_PIN, 'in ZEROFORCE_PIN');
  if (pin === undefined && !canAsk()) return null;
  const typed = await ask('PIN of the device: ', { hidden: true, signal });
  return typed === null ? null : checkedPin(typed, 'that was typed');
}

async function readPinFile(path: string): Promise<string> {
  try {
    const text = await readFile(path, 'utf8');
    if (text.length <= PIN_FILE_MAX_BYTES) return text;
    throw new Error('it is too long for a PIN');
  } catch (error) {
    throw new Failure('pair.pin-needed', `the PIN in ${path} cannot be read: ${fileErrorReason(error)}`);
  }
}

function checkedPin(text: string, where: string): string {
  const digits = text.trim().replace(/[ -]/g, '');
  if (/^\d{6,16}$/.test(digits)) return digits;
  throw new Failure('pair.pin-needed', `the PIN ${where} does not have 6 to 16 digits`);
}

/** Taken out of the environment, which every child of this process would get. */
const ENVIRONMENT_PIN = takeEnvironmentPin();

function takeEnvironmentPin(): string | null {
  const pin = process.env.ZEROFORCE_PIN;
  delete process.env.ZEROFORCE_PIN;
  return pin === undefined || pin === '' ? null : pin;
}

function portOf(text: string | undefined): number | null {
  if (text === undefined) return null;
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port >= 1 && port <= 65_535) return port;
  throw new Failure('pair.target', `${JSON.stringify(text.slice(0, 20))} is no port: it must be from 1 to 65535`);
}

/** Where the system has a tmpfs for this user: nothing in it needs to survive. */
function runBase(): string {
  const folders = [process.env.XDG_RUNTIME_DIR, process.getuid?.() === 0 ? '/run' : undefined];
  return folders.find((folder) => folder?.startsWith('/') && isWritable(folder)) ?? tmpdir();
}

function isWritable(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

const digest = (text: string) =>
  createHash('sha256').update(`${process.getuid?.()}\n${text}`).digest('hex').slice(0, 16);

const EMPHASIS: Partial<Record<PairEvent['event'], keyof Style>> = {
  paired: 'good',
  connected: 'good',
  verified: 'good',
  lost: 'warn',
  retry: 'warn',
  waiting: 'strong',
};

/** Text for people, or a JSON object a line. */
function printer(json: boolean, style: Style, stoppedBy: () => NodeJS.Signals | null): (event: PairEvent) => void {
  return (event) => {
    if (event.event === 'lost' && stoppedBy() !== null) return; // we did that
    const emphasis = EMPHASIS[event.event];
    const text = emphasis === undefined ? humanText(event) : style[emphasis](humanText(event));
    process.stdout.write(`${json ? jsonLine(event, new Date()) : text}\n`);
  };
}

/** The first signal ends everything in order, a second one at once. */
function stopSignals(): { signal: AbortSignal; readonly by: NodeJS.Signals | null } {
  const controller = new AbortController();
  let by: NodeJS.Signals | null = null;
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      const exit = () => process.exit(128 + osConstants.signals[by ?? name]);
      if (by !== null) exit();
      by = name;
      setTimeout(exit, STOP_DEADLINE_MS).unref();
      controller.abort();
    });
  }
  return {
    signal: controller.signal,
    get by() {
      return by;
    },
  };
}
