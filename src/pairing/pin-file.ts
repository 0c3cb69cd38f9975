import { join } from 'node:path';
import { fileErrorReason, makeFolder, removeFile, removeLeftovers, replaceFile } from '../support/atomic-file.ts';
import { Failure, systemCode } from '../support/failures.ts';
import { readSmallFile } from '../support/small-file.ts';

/** What is kept of the PIN: never the PIN itself (pairing: PIN). */
export interface StoredPin {
  readonly salt: Buffer;
  readonly verifier: Buffer;
  /** Proofs that were begun and did not turn out right, since the last one that did. */
  readonly failures: number;
}

const READ_MAX_BYTES = 4096; // ours has about 900

/** `pairing-pin.json` in the state folder, for the service alone. Its caller writes one after the other. */
export class PinFile {
  readonly #stateDir: string;
  readonly #path: string;

  constructor({ stateDir }: { stateDir: string }) {
    this.#stateDir = stateDir;
    this.#path = join(stateDir, 'pairing-pin.json');
  }

  /** @throws Failure `state.unreadable`, also when the file is damaged: a count that nobody knows must not begin at 0 */
  async read(): Promise<StoredPin | null> {
    try {
      return parse((await readSmallFile(this.#path, READ_MAX_BYTES)).bytes.toString('utf8'));
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return null;
      const reason = fileErrorReason(error);
      throw new Failure('state.unreadable', `${this.#path} could not be read: ${reason}`, { cause: error });
    }
  }

  /**
   * When it resolves, this is what a restart finds, also after a power cut.
   * @throws Failure `state.unwritable`
   */
  async write({ salt, verifier, failures }: StoredPin): Promise<void> {
    const text = JSON.stringify({ salt: salt.toString('hex'), verifier: verifier.toString('hex'), failures });
    await this.#change(async () => {
      await makeFolder(this.#stateDir);
      await removeLeftovers(this.#path);
      const { durable } = await replaceFile(this.#path, `${text}\n`, { mode: 0o600 });
      if (!durable) throw new Error('it is written, but a power cut may undo it');
    });
  }

  /**
   * When it resolves, there is no PIN, also after a power cut.
   * @throws Failure `state.unwritable`
   */
  async remove(): Promise<void> {
    await this.#change(() => removeFile(this.#path));
  }

  async #change(task: () => Promise<void>): Promise<void> {
    try {
      await task();
    } catch (error) {
      const reason = fileErrorReason(error);
      throw new Failure('state.unwritable', `${this.#path} could not be written: ${reason}`, { cause: error });
    }
  }
}

/** @throws Error without a word of the content: it is as good as the PIN to whoever has time */
function parse(text: string): StoredPin {
  const damaged = new Error('it is damaged');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw damaged;
  }
  const { salt, verifier, failures } = (value ?? {}) as Record<string, unknown>;
  const isHex = (it: unknown): it is string => typeof it === 'string' && /^([0-9a-f]{2})+$/.test(it);
  if (!isHex(salt) || !isHex(verifier) || !Number.isInteger(failures) || (failures as number) < 0) throw damaged;
  return { salt: Buffer.from(salt, 'hex'), verifier: Buffer.from(verifier, 'hex'), failures: failures as number };
}
