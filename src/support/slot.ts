/** Something that is started once and stopped once. */
export interface Part {
  start(): unknown; // awaited
  stop(): unknown; // awaited
}

/**
 * Holds a part that can be exchanged while the rest of the service runs. The old one has stopped before the new one
 * starts, since both may want the same port; exchanges are made one after the other; after `stop` nothing starts.
 */
export class Slot<T extends Part> {
  #current: T | null;
  #last: Promise<void> = Promise.resolve();
  #started = false;
  #stopped = false;

  constructor(part: T | null) {
    this.#current = part;
  }

  /** The part that runs, or is to run; null where there is none. */
  get current(): T | null {
    return this.#current;
  }

  start(): Promise<void> {
    this.#started = true;
    return this.#enqueue(async () => void (await this.#current?.start()));
  }

  /** Puts another part in the place of the one that runs; before `start` it is only noted. */
  replace(next: T | null): Promise<void> {
    return this.#enqueue(async () => {
      const before = this.#current;
      if (this.#started) await before?.stop();
      this.#current = next;
      if (this.#started && !this.#stopped) await next?.start(); // else `stop` would wait for its start, too
    });
  }

  stop(): Promise<void> {
    const wasStopped = this.#stopped;
    this.#stopped = true;
    if (!wasStopped)
      this.#last = this.#last.catch(() => undefined).then(async () => void (await this.#current?.stop()));
    return this.#last;
  }

  #enqueue(task: () => Promise<void>): Promise<void> {
    this.#last = this.#last
      .catch(() => undefined) // told to whoever asked for it
      .then(async () => {
        if (!this.#stopped) await task();
      });
    return this.#last;
  }
}
