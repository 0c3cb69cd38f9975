import { statSync } from 'node:fs';
import type { LoadedConfig } from './config/load.ts';
import type { OptionKey, Values } from './config/options.ts';
import { planReload, type ReloadPlan } from './config/reload.ts';
import type { Notice } from './config/resolve.ts';
import type { Config } from './config/types.ts';
import type { Cancel, Clock } from './support/clock.ts';
import { asFailure, FAILURES, systemCode } from './support/failures.ts';
import type { Log } from './support/log.ts';

/** How often the file is looked at; as often as the monitor polls. */
const LOOK_MS = 5_000;

/** What runs with a configuration and can take on another one; `Device`. */
export interface Reconfigurable {
  /** Whether the session with the other side may be ended without cutting anybody off. */
  isIdle(): boolean;
  /** Takes on what has changed; `notices` replace those of before. */
  reconfigure(config: Config, changed: readonly OptionKey[], notices: readonly Notice[]): Promise<void>;
}

export interface ReloaderOptions {
  target: Reconfigurable;
  /** What the target was started with. */
  loaded: LoadedConfig;
  /** Reads the configuration anew, strictly: it rejects where anything is wrong with it. */
  load: () => Promise<LoadedConfig>;
  /** Called with each configuration that was taken on. */
  onApplied: (loaded: LoadedConfig) => Promise<void>;
  clock: Clock;
  log: Log;
}

/**
 * Takes on a changed configuration while the service runs: on request, and when the file has changed. A broken one
 * changes nothing. What would cut somebody off waits for a moment without streams (docs/options.md).
 */
export class Reloader {
  readonly #options: ReloaderOptions;
  readonly #file: string;
  /** What runs: the configuration, and what it had to say. */
  #config: Config;
  #values: Values;
  #notices: readonly Notice[];
  /** Why the file as it is now is not taken on; empty where it is. */
  #refusal: readonly Notice[] = [];
  /** What was read last, as long as a part of it waits for a moment without streams. */
  #waiting: LoadedConfig | null = null;
  #fileState: string;
  #last: Promise<void> = Promise.resolve();
  #cancelLook: Cancel = () => undefined;
  #stopped = false;

  constructor(options: ReloaderOptions) {
    this.#options = options;
    this.#file = options.loaded.file;
    this.#config = options.loaded.config;
    this.#values = options.loaded.values.reveal();
    this.#notices = options.loaded.notices;
    this.#fileState = stateOf(this.#file);
  }

  /** Begins to look at the file. */
  start(): void {
    this.#cancelLook = this.#options.clock.after(LOOK_MS, () => {
      this.#look();
      if (!this.#stopped) this.start();
    });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelLook();
    await this.#last;
  }

  /** Reads the configuration anew and takes on what can be. Never rejects; requests are served one after the other. */
  reload(): Promise<void> {
    return this.#enqueue(async () => {
      this.#fileState = stateOf(this.#file);
      const next = await this.#options.load();
      this.#refusal = [];
      await this.#apply(next);
      await this.#options.onApplied(next);
    });
  }

  #look(): void {
    if (stateOf(this.#file) !== this.#fileState) void this.reload();
    else if (this.#waiting !== null && this.#options.target.isIdle()) {
      // What waits when its turn comes: a reload that is under way may replace it.
      void this.#enqueue(async () => {
        if (this.#waiting !== null) await this.#apply(this.#waiting);
      });
    }
  }

  #enqueue(task: () => Promise<void>): Promise<void> {
    this.#last = this.#last.then(async () => {
      if (this.#stopped) return;
      await task().catch((error: unknown) => this.#refuse(error));
    });
    return this.#last;
  }

  async #apply(next: LoadedConfig): Promise<void> {
    const { target, log } = this.#options;
    const plan = planReload(this.#values, next.values.reveal(), target.isIdle());
    const { applied, whenIdle, atRestart } = plan;
    this.#waiting = whenIdle.length > 0 ? next : null;
    const outstanding = noticesOf(plan);
    this.#config = plan.config;
    this.#values = plan.values;
    this.#notices = [...next.notices, ...outstanding];
    await target.reconfigure(plan.config, applied, [...this.#notices, ...this.#refusal]);
    log.info({ applied, whenIdle, atRestart }, 'the configuration was read anew');
    for (const { code, sentence } of outstanding) log.warn({ code, remedy: FAILURES[code] }, sentence);
  }

  /** Nothing changes but what the status says. */
  async #refuse(error: unknown): Promise<void> {
    const { target, log } = this.#options;
    const { message } = asFailure(error);
    const sentence = `the new configuration is refused, and the running one is kept: ${message}`;
    log.error({ code: 'config.refused', remedy: FAILURES['config.refused'] }, sentence);
    this.#refusal = [{ code: 'config.refused', sentence }];
    await target.reconfigure(this.#config, [], [...this.#notices, ...this.#refusal]);
  }
}

function noticesOf({ whenIdle, atRestart }: ReloadPlan): Notice[] {
  const notices: Notice[] = [];
  if (whenIdle.length > 0) {
    const sentence = `${whenIdle.join(', ')}: the new value waits until no stream is open, or for a restart`;
    notices.push({ code: 'config.not-yet', sentence });
  }
  if (atRestart.length > 0) {
    const sentence = `${atRestart.join(', ')}: the new value needs a restart of the service`;
    notices.push({ code: 'config.not-yet', sentence });
  }
  return notices;
}

/** Changes when somebody changes the file, removes it, or puts another one in its place. */
function stateOf(file: string): string {
  try {
    const { ino, size, mtimeNs, ctimeNs } = statSync(file, { bigint: true });
    return `${ino} ${size} ${mtimeNs} ${ctimeNs}`;
  } catch (error) {
    return String(systemCode(error));
  }
}
