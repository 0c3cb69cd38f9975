import { type ChildProcess, spawn } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { fileErrorReason } from '../support/atomic-file.ts';
import type { Cancel, Clock } from '../support/clock.ts';
import { Failure } from '../support/failures.ts';
import type { Log } from '../support/log.ts';
import { killGroup } from '../support/program.ts';
import { type ButtonEvent, ButtonReader } from './input-events.ts';

/** How long the button must be held. */
const HOLD_MS = 10_000;
/** After the hold: what the button did before it ended is read by then, also when the machine stood still meanwhile. */
const CONFIRM_MS = 250;
/** A device that has been read for so long is there; one that cannot be read ends earlier. */
const SETTLED_MS = 1_000;
/** How often a device that is not there is looked for; as often as the monitor polls. */
const RETRY_MS = 5_000;

export interface ResetButtonOptions {
  /** The input device of the button, `/dev/input/event0` for example. */
  path: string;
  /** Called once for each press that lasts 10 s. */
  onHeld: () => void;
  clock: Clock;
  log: Log;
  holdMs?: number;
}

/**
 * `cat` reads the device, `$0`. The shell beside it waits for the end of its input, which comes when the service ends,
 * killed or not: else each crash would leave a `cat` that waits for a button.
 */
const READER = 'cat -- "$0" </dev/null & exec >&- 2>&-; read -r _; kill "$!"';

/**
 * A button that is held for 10 s. It is read by `cat`: Node would block one of its four threads for as long as nobody
 * presses the button, and could not be stopped then; asking again and again would wake an idle machine.
 */
export class ResetButton {
  readonly #options: ResetButtonOptions;
  #stopped = false;
  #child: ChildProcess | null = null;
  #failure: Failure | null = null;
  #heldKey: number | null = null;
  #cancelHold: Cancel = () => undefined;
  /** Of the time until the device counts as there, or until it is looked for again. */
  #cancelWait: Cancel = () => undefined;

  constructor(options: ResetButtonOptions) {
    this.#options = options;
  }

  /** Begins to read. A device that is missing is reported and looked for again. */
  async start(): Promise<void> {
    try {
      await access(this.#options.path, constants.R_OK);
    } catch (error) {
      return this.#unavailable(fileErrorReason(error));
    }
    if (!this.#stopped) this.#read();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelWait();
    this.#release();
    const child = this.#child;
    if (child === null) return;
    const gone = new Promise((resolve) => child.once('close', resolve));
    killGroup(child.pid);
    await gone;
  }

  /** Why the button does not work now; null when it does. */
  failure(): Failure | null {
    return this.#failure;
  }

  #read(): void {
    const { path, clock, log } = this.#options;
    const reader = new ButtonReader();
    // A group of its own: it is ended as a whole, and Ctrl-C at a terminal is for us alone.
    const child = spawn('sh', ['-c', READER, path], { stdio: 'pipe', detached: true });
    this.#child = child;
    let complaint = '';
    this.#cancelWait = clock.after(SETTLED_MS, () => {
      if (this.#failure !== null) log.info({ path }, 'the reset button can be read again');
      this.#failure = null;
    });
    child.stdout.on('data', (chunk: Buffer) => {
      for (const event of reader.push(chunk)) this.#take(event);
    });
    child.stdout.on('end', () => killGroup(child.pid));
    child.stdin.on('error', () => undefined);
    child.stderr.on('data', (chunk: Buffer) => {
      complaint = (complaint + chunk.toString('latin1')).slice(0, 200);
    });
    child.on('error', (error) => {
      complaint = error.message;
    });
    child.on('close', () => {
      this.#child = null;
      this.#cancelWait();
      this.#release();
      this.#unavailable(complaint.trim() || 'there is nothing more to be read from it');
    });
  }

  #unavailable(why: string): void {
    if (this.#stopped) return;
    const { path, clock, log } = this.#options;
    const failure = new Failure('reset.button-unavailable', `the reset button ${path} cannot be read: ${why}`);
    const level = failure.message === this.#failure?.message ? 'debug' : 'error';
    log[level]({ code: failure.code, remedy: failure.remedy }, failure.message);
    this.#failure = failure;
    this.#cancelWait = clock.after(RETRY_MS, () => void this.start());
  }

  /** One key counts at a time; another one beside it changes nothing. */
  #take(event: ButtonEvent): void {
    if (event.kind === 'pressed') this.#press(event.key);
    else if (event.kind === 'lost' || event.key === this.#heldKey) this.#release();
  }

  #press(key: number): void {
    if (this.#heldKey !== null) return;
    const { clock, log, onHeld, holdMs = HOLD_MS } = this.#options;
    this.#heldKey = key;
    log.info({ key }, `the reset button is pressed; held for ${holdMs / 1000} s it resets pairing`);
    this.#cancelHold = clock.after(holdMs, () => {
      this.#cancelHold = clock.after(CONFIRM_MS, onHeld);
    });
  }

  #release(): void {
    this.#cancelHold();
    this.#heldKey = null;
  }
}
