import { lstat, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileErrorReason, makeFolder, removeLeftovers, replaceFile, syncFolder } from '../support/atomic-file.ts';
import { Failure, systemCode } from '../support/failures.ts';

/** For whoever finds the file; only its existence counts. */
const CONTENT = 'This device has been paired. While this file exists, pairing opens only after the timeout.\n';

/**
 * The marker "ever paired", which survives restarts (pairing: state machine 4). It is written at most once: a card
 * wears with every write.
 */
export class EverPaired {
  readonly #stateDir: string;
  readonly #path: string;

  constructor({ stateDir }: { stateDir: string }) {
    this.#stateDir = stateDir;
    this.#path = join(stateDir, 'ever-paired');
  }

  /**
   * Whether the device was paired before. An empty or damaged marker counts as yes: wrongly yes delays pairing by the
   * timeout, wrongly no would open a paired device to a stranger.
   *
   * @throws Failure `state.unreadable`: then nobody knows, and the caller takes the safe side
   */
  async read(): Promise<boolean> {
    try {
      return await this.#exists();
    } catch (error) {
      const reason = fileErrorReason(error);
      throw new Failure('state.unreadable', `${this.#path} could not be read: ${reason}`, { cause: error });
    }
  }

  /**
   * Writes the marker unless it is there already; when it resolves, the marker survives a power cut. Not to be called
   * while a write is under way: `Pairing` makes all of its writes one after the other.
   *
   * @throws Failure `state.unwritable` with the reason
   */
  async remember(): Promise<void> {
    try {
      // The one that is there may be of a process killed before the last step; fsync writes nothing that is clean.
      if (await this.#exists()) return await syncFolder(this.#stateDir);
      await makeFolder(this.#stateDir);
      await removeLeftovers(this.#path);
      const { durable } = await replaceFile(this.#path, CONTENT, { mode: 0o600 });
      if (!durable) throw new Error('it is written, but a power cut may undo it');
    } catch (error) {
      const reason = fileErrorReason(error);
      throw new Failure('state.unwritable', `${this.#path} could not be written: ${reason}`, { cause: error });
    }
  }

  /**
   * Removes the marker; when it resolves, the device counts as never paired also after a power cut. As with `remember`,
   * not while another write is under way.
   *
   * @throws Failure `state.unwritable` with the reason
   */
  async forget(): Promise<void> {
    try {
      await rm(this.#path, { recursive: true, force: true }); // a damaged one may be anything
      // Also where there was none: who removed it may have been killed before this step.
      await syncFolder(this.#stateDir);
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return; // not even a state folder
      const reason = fileErrorReason(error);
      throw new Failure('state.unwritable', `${this.#path} could not be removed: ${reason}`, { cause: error });
    }
  }

  async #exists(): Promise<boolean> {
    try {
      await lstat(this.#path);
      return true;
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return false;
      throw error;
    }
  }
}
