import type { Cancel, Clock } from '../support/clock.ts';
import { asFailure, FAILURES, type FailureCode } from '../support/failures.ts';
import type { Log } from '../support/log.ts';
import { type Look, nextRound } from './rounds.ts';
import type { Say } from './systemd-notify.ts';

/**
 * A start that hangs (a dead mount, a file that nobody answers for) is a fault, and the tunnel stands beside it: systemd
 * must not end that for a service that is not ready in its time.
 */
export const READY_LATEST_MS = 60_000;
/** What is said last must not keep a stop. */
const LAST_WORD_MS = 1_000;

export interface NotifierOptions {
  watchdogMs: number | null;
  say: Say;
  /** Looks how the service is, within `limitMs`; never rejects. */
  look: (limitMs: number) => Promise<Look>;
  clock: Clock;
  log: Log;
}

/** Tells systemd how the service is, as long as it runs, and feeds its watchdog. */
export class Notifier {
  readonly #options: NotifierOptions;
  #told: string | null = null;
  /** What the log has been told, once until it is over. */
  #trouble: FailureCode | null = null;
  #cancel: Cancel = () => undefined;
  #isReady = false;
  #stopped = false;

  constructor(options: NotifierOptions) {
    this.#options = options;
  }

  /** The service begins to start. */
  start(): void {
    const { clock, log } = this.#options;
    this.#cancel = clock.after(READY_LATEST_MS, () => {
      log.warn('the start hangs; systemd is told that the service is ready, for what works of it');
      void this.ready();
    });
  }

  /** The service is ready; from now on it is looked after. Resolves when systemd has heard of it. */
  async ready(): Promise<void> {
    if (this.#isReady || this.#stopped) return;
    this.#isReady = true;
    this.#cancel();
    await this.#round(['READY=1']);
  }

  /** The service stops. Bounded by a second. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel();
    const { say, clock } = this.#options;
    await new Promise<void>((resolve) => {
      const done = () => {
        cancel();
        resolve();
      };
      const cancel = clock.after(LAST_WORD_MS, resolve);
      say(['STOPPING=1', 'STATUS=stopping']).then(done, done);
    });
  }

  async #round(first: readonly string[] = []): Promise<void> {
    const { watchdogMs, look, clock } = this.#options;
    const seen = await look((watchdogMs ?? READY_LATEST_MS) / 6);
    if (this.#stopped) return;
    const round = nextRound(watchdogMs, this.#told, seen);
    if (seen.stuck !== null) {
      this.#complain('service.stuck', `systemd will restart the service unless this passes: ${seen.stuck}`);
    }
    const words = [...first, ...round.say];
    const isSaid = words.length === 0 || (await this.#say(words));
    if (isSaid) this.#told = seen.status;
    if (isSaid && seen.stuck === null) this.#trouble = null;
    if (this.#stopped) return;
    const still = isSaid ? [] : first;
    this.#cancel = clock.after(isSaid ? round.nextMs : round.againMs, () => void this.#round(still));
  }

  async #say(words: readonly string[]): Promise<boolean> {
    try {
      await this.#options.say(words);
      return true;
    } catch (error) {
      const { code, message } = asFailure(error);
      this.#complain(code, message);
      return false;
    }
  }

  #complain(code: FailureCode, sentence: string): void {
    if (this.#trouble === code) return;
    this.#trouble = code;
    this.#options.log.error({ code, remedy: FAILURES[code] }, sentence);
  }
}
