import { type Clock, pause } from '../support/clock.ts';
import { asFailure, type Failure, type FailureCode } from '../support/failures.ts';
import type { Log } from '../support/log.ts';
import { Repeats } from '../support/repeats.ts';
import { SAYS } from './calls.ts';
import { nextDelayMs, type Outcome } from './schedule.ts';

/** Something that is done again and again. */
export interface Job {
  /** For the log. */
  readonly name: string;
  /** Between two successful runs. */
  readonly usualMs: number;
  /** @throws Failure */
  readonly run: (stop: AbortSignal) => Promise<void>;
}

export type JobState = 'pending' | 'done' | 'failed';

export interface RoundsOptions {
  /** It sets the pace: the others run only after it succeeded, when they are due. */
  pulse: Job;
  others: readonly Job[];
  clock: Clock;
  random: () => number;
  log: Log;
}

interface Course {
  nextAtMs: number;
  outcome: Outcome | null;
  /** With the same outcome, in a row. */
  count: number;
  failure: Failure | null;
  readonly repeats: Repeats;
}

/** The same trouble is told again after this time; in between at debug level. */
const REMIND_MS = 60 * 60_000;
/** Until a person acts, asking again will not help. */
const REFUSALS: ReadonlySet<FailureCode> = new Set([
  'meeting.token-refused',
  'meeting.not-provisioned',
  'meeting.forbidden',
  'meeting.not-authorized',
  'meeting.key-refused',
  'meeting.public-key-file',
]);
/** The server is not there: the other jobs would only wait for it as well. */
const AWAY: ReadonlySet<FailureCode> = new Set(['meeting.api-unreachable', 'meeting.api-timeout']);

/** Runs jobs one after the other, with one timer for all, and tells what fails: once for each change, then seldom. */
export class Rounds {
  readonly #options: RoundsOptions;
  readonly #courses: Map<Job, Course>;
  readonly #stopping = new AbortController();
  #loop: Promise<void> | null = null;
  #last: { failure: Failure; atMs: number } | null = null;

  constructor(options: RoundsOptions) {
    const { pulse, others, clock } = options;
    this.#options = options;
    const fresh = (): Course => {
      const repeats = new Repeats(clock, REMIND_MS);
      return { nextAtMs: clock.nowMs(), outcome: null, count: 0, failure: null, repeats };
    };
    this.#courses = new Map([pulse, ...others].map((job) => [job, fresh()]));
  }

  /** Begins; returns at once. To be called once. */
  start(): void {
    this.#loop ??= this.#run(this.#stopping.signal);
  }

  /** Ends the run that is under way. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error('the Meeting client was stopped'));
    await this.#loop;
  }

  get running(): boolean {
    return this.#loop !== null && !this.#stopping.signal.aborted;
  }

  stateOf(job: Job): JobState {
    const outcome = this.#courses.get(job)?.outcome ?? null;
    if (outcome === null) return 'pending';
    return outcome === 'done' ? 'done' : 'failed';
  }

  /** Of the pulse. */
  get nextInMs(): number {
    return Math.max(0, (this.#courses.get(this.#options.pulse)?.nextAtMs ?? 0) - this.#options.clock.nowMs());
  }

  /** What does not work now. */
  failures(): Failure[] {
    return [...this.#courses.values()].flatMap(({ failure }) => failure ?? []);
  }

  /** The last since the start, also when all is well again. */
  get last(): { failure: Failure; agoMs: number } | null {
    return this.#last && { failure: this.#last.failure, agoMs: this.#options.clock.nowMs() - this.#last.atMs };
  }

  async #run(stop: AbortSignal): Promise<void> {
    while (!stop.aborted) {
      for (const [job, course] of this.#courses) {
        if (stop.aborted) return;
        if (course.nextAtMs > this.#options.clock.nowMs()) continue;
        const failure = await this.#attempt(job, course, stop);
        if (failure !== null && (job === this.#options.pulse || AWAY.has(failure.code))) break;
      }
      await pause(this.#options.clock, this.nextInMs, stop);
    }
  }

  async #attempt(job: Job, course: Course, stop: AbortSignal): Promise<Failure | null> {
    const { clock, random, log } = this.#options;
    const startedMs = clock.nowMs();
    const before = course.failure;
    try {
      await job.run(stop);
      Object.assign(course, { outcome: 'done', count: 1, failure: null, nextAtMs: startedMs + job.usualMs });
      course.repeats.forget();
      if (before !== null) log.info({ was: before.code }, `Meeting, ${job.name}: works again`);
      return null;
    } catch (error) {
      if (stop.aborted) return null;
      const failure = asFailure(error);
      const outcome = REFUSALS.has(failure.code) ? 'refused' : 'failed';
      const count = course.outcome === outcome ? course.count + 1 : 1;
      const delayMs = nextDelayMs(outcome, count, job.usualMs, random);
      Object.assign(course, { outcome, count, failure, nextAtMs: clock.nowMs() + delayMs });
      this.#tell(job, course.repeats, failure, delayMs);
      return failure;
    }
  }

  #tell(job: Job, repeats: Repeats, failure: Failure, delayMs: number): void {
    const { code, message, remedy } = failure;
    this.#last = { failure, atMs: this.#options.clock.nowMs() };
    // What the server says may be different each time, with the number of a request for example.
    const [sentence = message] = message.split(SAYS);
    const { level, repeated } = repeats.next(code, sentence);
    const facts = { code, remedy, ...(repeated > 0 && { repeated }), nextAttemptInMs: Math.round(delayMs) };
    this.#options.log[level](facts, `Meeting, ${job.name}: ${message}`);
  }
}
