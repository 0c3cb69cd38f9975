import { join } from 'node:path';
import { fileErrorReason, makeFolder, removeLeftovers, replaceFile } from '../support/atomic-file.ts';
import { Failure, systemCode } from '../support/failures.ts';
import { readSmallFile } from '../support/small-file.ts';

/** What is remembered of resets across a power cut. */
export interface ResetMemory {
  /** The content of the boot file that was acted on last, as `bootFileContent` gives it. */
  readonly bootFile: string | null;
  /** Who asked for a reset that has begun and not ended; null when none is under way. */
  readonly underWay: string | null;
}

const NOTHING: ResetMemory = { bootFile: null, underWay: null };
const READ_MAX_BYTES = 4096; // ours has about 120

/**
 * `reset.json` in the state folder. Both facts stand in one file, so that one write remembers that the boot file was
 * acted on, and that the reset has to be completed if the power is cut now.
 */
export class ResetJournal {
  readonly #stateDir: string;
  readonly #path: string;

  constructor(stateDir: string) {
    this.#stateDir = stateDir;
    this.#path = join(stateDir, 'reset.json');
  }

  /** @throws Failure `state.unreadable`, also when the file is damaged: then nobody knows what was acted on */
  async read(): Promise<ResetMemory> {
    try {
      return parse((await readSmallFile(this.#path, READ_MAX_BYTES)).bytes.toString('utf8'));
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return NOTHING;
      const reason = fileErrorReason(error);
      throw new Failure('state.unreadable', `${this.#path} could not be read: ${reason}`, { cause: error });
    }
  }

  /** @throws Failure `state.unwritable`; then the old memory is in place */
  async write(memory: ResetMemory): Promise<void> {
    try {
      await makeFolder(this.#stateDir);
      await removeLeftovers(this.#path);
      const { durable } = await replaceFile(this.#path, `${JSON.stringify(memory)}\n`, { mode: 0o600 });
      if (!durable) throw new Error('it is written, but a power cut may undo it');
    } catch (error) {
      const reason = fileErrorReason(error);
      throw new Failure('state.unwritable', `${this.#path} could not be written: ${reason}`, { cause: error });
    }
  }
}

function parse(text: string): ResetMemory {
  try {
    const { bootFile, underWay } = JSON.parse(text) as Record<string, unknown>;
    if (isTextOrNull(bootFile) && isTextOrNull(underWay)) return { bootFile, underWay };
  } catch {
    // no JSON, or no object; the words of JSON.parse would repeat the file
  }
  throw new Error('it is damaged');
}

const isTextOrNull = (value: unknown): value is string | null => value === null || typeof value === 'string';
