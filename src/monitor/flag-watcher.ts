import { once } from 'node:events';
import { basename, dirname, join, resolve } from 'node:path';
import { type FSWatcher, watch } from 'chokidar';
import type { Cancel, Clock } from '../support/clock.ts';
import type { Log } from '../support/log.ts';
import { FLAG_NAME, readFlag } from './flag-file.ts';

/** As often as the monitor polls: the slowest that a change may be seen when the kernel's notices fail us. */
const RECHECK_MS = 5_000;

export interface FlagWatcherOptions {
  runDir: string;
  clock: Clock;
  log: Log;
  /** Told the state at the start, and every change after it, whoever made it. */
  onChange: (isPresent: boolean) => void;
}

/**
 * Watches the flag through chokidar. Which event came is not believed: each one, and a slow timer (the kernel may have
 * no watch left to give, the parent folder may be replaced), only makes us look at the flag again.
 *
 * chokidar goes deaf when a watched folder is removed and made again at once, also one level below the folder that it
 * watches. So the parent, which stays, has a watcher of its own; whenever it names the run folder, the run folder's
 * watcher is replaced.
 */
export class FlagWatcher {
  readonly #options: FlagWatcherOptions;
  readonly #runDir: string;
  readonly #stopping = new AbortController();
  #parentWatcher: FSWatcher | null = null;
  #runDirWatcher: FSWatcher | null = null;
  #renewing: Promise<void> = Promise.resolve();
  #cancelRecheck: Cancel = () => undefined;
  #isPresent: boolean | null = null;

  constructor(options: FlagWatcherOptions) {
    this.#options = options;
    this.#runDir = resolve(options.runDir); // chokidar hands out absolute paths, and they are compared
  }

  /** Resolves when no later change can be missed; `onChange` has had the state by then. */
  async start(): Promise<void> {
    this.check();
    this.#recheckLater();
    this.#parentWatcher = this.#watch(dirname(this.#runDir), this.#runDir);
    this.#parentWatcher.on('raw', (_event, name) => {
      if (name === basename(this.#runDir)) void this.#renew();
    });
    await this.#ready(this.#parentWatcher);
    await this.#renew();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#cancelRecheck();
    await this.#parentWatcher?.close();
    await this.#renewing;
    await this.#runDirWatcher?.close();
  }

  /** Looks at the flag now, reports a change, and returns whether it is there. */
  check(): boolean {
    const isPresent = readFlag(this.#runDir) === 'present';
    if (isPresent !== this.#isPresent && !this.#stopping.signal.aborted) {
      this.#isPresent = isPresent;
      this.#options.onChange(isPresent);
    }
    return isPresent;
  }

  /** One replacement after the other, so that the last one sees the folder that stays. */
  #renew(): Promise<void> {
    this.#renewing = this.#renewing
      .then(() => this.#replaceRunDirWatcher())
      .catch((error: unknown) => this.#reportSlow(this.#runDir, error));
    return this.#renewing;
  }

  async #replaceRunDirWatcher(): Promise<void> {
    if (this.#stopping.signal.aborted) return;
    await this.#runDirWatcher?.close();
    this.#runDirWatcher = this.#watch(this.#runDir, join(this.#runDir, FLAG_NAME));
    await this.#ready(this.#runDirWatcher);
    this.check(); // for what changed before the new watcher listened
  }

  /** Watches one entry of a folder; what else lies there is not looked at. */
  #watch(folder: string, entry: string): FSWatcher {
    const watcher = watch(folder, {
      depth: 0,
      ignored: (path) => path !== folder && path !== entry,
      ignoreInitial: true,
      followSymlinks: false,
    });
    watcher.on('raw', () => this.check()); // its other events leave out links that lead nowhere
    watcher.on('error', (error) => this.#reportSlow(folder, error));
    return watcher;
  }

  #reportSlow(folder: string, error: unknown): void {
    const everyS = RECHECK_MS / 1000;
    this.#options.log.warn({ folder }, `the flag is only looked at every ${everyS} s: ${String(error)}`);
  }

  /** Waits until `watcher` listens. One that is closed or fails first never does, so a stop or an error ends the wait. */
  async #ready(watcher: FSWatcher): Promise<void> {
    await once(watcher, 'ready', { signal: this.#stopping.signal }).catch(() => undefined);
  }

  #recheckLater(): void {
    this.#cancelRecheck = this.#options.clock.after(RECHECK_MS, () => {
      this.check();
      this.#recheckLater();
    });
  }
}
