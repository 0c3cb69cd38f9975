import { asFailure, type Failure } from '../support/failures.ts';
import type { Log } from '../support/log.ts';
import { bootFileContent } from './boot-file.ts';
import type { ResetJournal, ResetMemory } from './journal.ts';
import type { SessionsEnd } from './tunnel-sessions.ts';

export type ResetSource = 'local' | 'boot file' | 'button';

export interface FactoryResetOptions {
  /** The file on the boot partition that asks for a reset. */
  bootFile: string;
  journal: Pick<ResetJournal, 'read' | 'write'>;
  /** Removes the key, the marker and the failures of the PIN; a tunnel that stands is of the old key from then on. */
  resetPairing: () => Promise<void>;
  /** Puts the reset on record. */
  record: (source: ResetSource) => Promise<void>;
  /** Ends the tunnels of the old key, which cannot come back without it; then pairing opens. */
  endSessions: () => Promise<SessionsEnd>;
  log: Log;
}

/**
 * The factory reset (pairing: state machine 5). Cut at any point, the device is as it was or the next start completes
 * the reset; what each step leaves is in docs/reset.md.
 */
export class FactoryReset {
  readonly #options: FactoryResetOptions;
  #last: Promise<unknown> = Promise.resolve();
  #failure: Failure | null = null;

  constructor(options: FactoryResetOptions) {
    this.#options = options;
  }

  /**
   * Resets now, after a reset that is under way.
   * @throws Failure `key.unwritable` or `state.unwritable`; what was removed by then stays removed
   */
  run(by: ResetSource): Promise<SessionsEnd> {
    return this.#inTurn(async () => this.#reset(by, await this.#remembered()));
  }

  /**
   * At the start of the service, before pairing: completes a reset that was cut, and acts on the boot file once for
   * each content. Never rejects: a device that does not start cannot be reached.
   */
  atStart(): Promise<void> {
    return this.#inTurn(async () => {
      try {
        const memory = await this.#remembered();
        if (memory.underWay !== null) await this.#complete(memory);
        else await this.#obeyBootFile(memory);
      } catch (error) {
        this.#report(error, 'the reset at the start was not done');
      }
    });
  }

  /** Resolves when no reset is under way. */
  async stop(): Promise<void> {
    await this.#last;
  }

  /** Why the reset at the start, or of the button, was not done; null when there was none to do or it was done. */
  failure(): Failure | null {
    return this.#failure;
  }

  /** As `run`, for who has nobody to tell: a failure is logged and kept for the status. */
  async runReporting(by: ResetSource): Promise<void> {
    await this.run(by).catch((error: unknown) => this.#report(error, 'the reset was not done'));
  }

  async #complete(memory: ResetMemory): Promise<void> {
    const { log, bootFile } = this.#options;
    const by = (memory.underWay ?? 'local') as ResetSource;
    log.warn({ source: by }, 'a reset was cut short; it is completed now');
    // A boot file that is there now has had its reset with this one.
    const content = await bootFileContent(bootFile).catch(() => null);
    await this.#reset(by, memory, content ?? memory.bootFile);
  }

  async #obeyBootFile(memory: ResetMemory): Promise<void> {
    const { bootFile, log } = this.#options;
    const content = await bootFileContent(bootFile);
    if (content === null || content === memory.bootFile) return;
    log.warn({ path: bootFile }, 'the boot partition asks for a reset of pairing');
    await this.#reset('boot file', memory, content);
  }

  async #reset(by: ResetSource, before: ResetMemory, bootFile = before.bootFile): Promise<SessionsEnd> {
    const { journal, resetPairing, record, endSessions, log } = this.#options;
    const remembered = await this.#begin({ bootFile, underWay: by });
    let sessions: SessionsEnd;
    try {
      await resetPairing();
      await record(by);
      sessions = await endSessions();
    } catch (error) {
      if (remembered) await journal.write(before).catch(() => undefined); // else the next start would do it unasked
      throw error;
    }
    if (remembered) {
      await journal
        .write({ bootFile, underWay: null })
        .catch((error: unknown) => this.#report(error, 'the next start will reset once more'));
    }
    this.#failure = null;
    log.warn({ source: by, sessions }, 'pairing was reset: the key was removed, and pairing opens');
    if (sessions.hidden + sessions.left.length > 0) {
      log.error({ sessions }, 'the tunnel of the removed key still stands; as root: tunnel-agent pairing reset');
    }
    return sessions;
  }

  /**
   * Remembers what is about to be done. The boot file must be remembered, else it would reset at each start. Where the
   * others cannot be, the order of the steps alone keeps a paired key and open pairing apart.
   */
  async #begin(memory: ResetMemory): Promise<boolean> {
    const { journal, log } = this.#options;
    try {
      await journal.write(memory);
      return true;
    } catch (error) {
      if (memory.underWay === 'boot file') throw error;
      const { code, remedy, message } = asFailure(error, 'state.unwritable');
      log.warn({ code, remedy }, `the reset goes on, but would not be completed after a power cut: ${message}`);
      return false;
    }
  }

  /**
   * Where nobody can tell what was acted on, the boot file that is there counts as done: else a card that fails would
   * open pairing at each start.
   */
  async #remembered(): Promise<ResetMemory> {
    const { journal, bootFile } = this.#options;
    try {
      return await journal.read();
    } catch (error) {
      this.#report(error, 'the boot file that is there counts as acted on');
      const memory = { bootFile: await bootFileContent(bootFile).catch(() => null), underWay: null };
      await journal.write(memory).catch(() => undefined);
      return memory;
    }
  }

  #report(error: unknown, what: string): void {
    const failure = asFailure(error);
    this.#failure = failure;
    this.#options.log.error({ code: failure.code, remedy: failure.remedy }, `${what}: ${failure.message}`);
  }

  #inTurn<T>(task: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(task);
    this.#last = turn.catch(() => undefined);
    return turn;
  }
}
