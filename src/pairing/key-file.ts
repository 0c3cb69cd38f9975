import { constants, lstat, open, readdir, realpath, stat } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import {
  type FileOwner,
  fileErrorReason,
  makeFolder,
  removeFile,
  removeLeftovers,
  replaceFile,
} from '../support/atomic-file.ts';
import { Failure, systemCode } from '../support/failures.ts';
import type { Log } from '../support/log.ts';
import { type PublicKey, parsePublicKey } from './public-key.ts';

const READ_MAX_BYTES = 64 * 1024; // four lines of the greatest length; ours is one
const WRITABLE_BY_OTHERS = 0o022; // what sshd's StrictModes refuses
const STICKY = 0o1000;
/** Of all users also while they are empty, as is every folder directly below `/`. */
const SHARED_PLACES: ReadonlySet<string> = new Set(['/var/tmp', '/dev/shm']);

export interface KeyFileOptions {
  /** The file that sshd reads, `/root/.ssh/authorized_keys` for example. */
  path: string;
  /** The restriction written before every key, in sshd's own words; empty or absent for none. */
  keyOptions?: string;
  log: Log;
}

/** The authorized keys file with its one key (pairing: key file). The decisions are explained in docs/key-file.md. */
export class KeyFile {
  readonly path: string;
  readonly #keyOptions: string;
  readonly #log: Log;

  /** @throws Failure `config.invalid` when the options would not stay what they are at the start of a line */
  constructor({ path, keyOptions = '', log }: KeyFileOptions) {
    if (/[\u0000-\u001f\u007f]/.test(keyOptions) || afterOptions(`${keyOptions} `) !== ' ') {
      throw new Failure(
        'config.invalid',
        'the restriction of the key must be one line of options without blanks outside of double quotes',
      );
    }
    this.path = resolve(path);
    this.#keyOptions = keyOptions;
    this.#log = log;
  }

  /**
   * The first valid key of the file, or null when there is no file or no valid key in it. Links are followed and
   * options are passed over, as sshd does; only the first 64 KiB are read.
   *
   * @throws Failure `key.unreadable`: then nobody knows, and the caller takes the safe side
   */
  async current(): Promise<PublicKey | null> {
    const text = await this.#read();
    for (const line of text.split('\n')) {
      const words = line.replaceAll('\t', ' ').trim();
      if (words.startsWith('#')) continue;
      const key = validKey(words) ?? validKey(afterOptions(words));
      if (key !== null) return key;
    }
    return null;
  }

  /**
   * Makes `key` the only key. Killed at any point, the file is the old one or the new one. Not to be called while a
   * replacement is under way: `Pairing` makes all of its writes one after the other.
   *
   * @throws Failure `key.unwritable` with the reason; the old key is then still in force
   */
  async replace(key: PublicKey): Promise<void> {
    const line = this.#keyOptions === '' ? key.line : `${this.#keyOptions} ${key.line}`;
    try {
      const owner = await this.#prepareFolder();
      await removeLeftovers(this.path);
      const asRoot = process.geteuid?.() === 0;
      const { durable } = await replaceFile(this.path, `${line}\n`, { mode: 0o600, ...(asRoot ? { owner } : {}) });
      if (!durable) this.#log.warn({ path: this.path }, 'the new key is in force, but a power cut may undo it');
      await this.#reportWhatSshdRefuses(owner).catch(() => undefined);
    } catch (error) {
      if (error instanceof Failure) throw error;
      const reason = fileErrorReason(error);
      throw new Failure('key.unwritable', `${this.path} could not be replaced: ${reason}; the old key is kept`, {
        cause: error,
      });
    }
  }

  /**
   * Removes the file, with every key in it; when it resolves, they stay gone after a power cut. A link is removed
   * itself, what it points to stays. As with `replace`, not while another write is under way.
   *
   * @throws Failure `key.unwritable` with the reason
   */
  async remove(): Promise<void> {
    try {
      await removeFile(this.path);
    } catch (error) {
      throw new Failure('key.unwritable', `${this.path} could not be removed: ${fileErrorReason(error)}`, {
        cause: error,
      });
    }
  }

  async #read(): Promise<string> {
    try {
      // O_NONBLOCK: a named pipe in that place must not hang the service.
      const file = await open(this.path, constants.O_RDONLY | constants.O_NONBLOCK);
      try {
        if (!(await file.stat()).isFile()) throw new Error('it is not a regular file');
        const { buffer, bytesRead } = await file.read(Buffer.alloc(READ_MAX_BYTES), 0, READ_MAX_BYTES, 0);
        return buffer.toString('utf8', 0, bytesRead);
      } finally {
        await file.close();
      }
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return '';
      throw new Failure('key.unreadable', `${this.path} could not be read: ${fileErrorReason(error)}`, {
        cause: error,
      });
    }
  }

  /** Makes the folder where it is missing, gives it mode 0700 again, and tells whose it is: the key is for its owner. */
  async #prepareFolder(): Promise<FileOwner> {
    const folder = dirname(this.path);
    await makeFolder(folder);
    const entry = await lstat(folder);
    // Else the owner of the home could send root's write, with its owner and mode, to any other folder.
    if (entry.isSymbolicLink() && entry.uid !== 0 && entry.uid !== process.geteuid?.()) {
      throw new Failure('key.unwritable', `${folder} is a link that belongs to user ${entry.uid}; the old key is kept`);
    }
    const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      const { uid, gid, mode } = await handle.stat();
      if (await this.#isShared(folder, mode)) {
        if ((mode & WRITABLE_BY_OTHERS) !== 0) {
          throw new Failure(
            'key.unwritable',
            `${folder} is shared by all users; give the key file a folder of its own`,
          );
        }
      } else if ((mode & 0o777) !== 0o700) {
        await handle.chmod(0o700);
      }
      return { uid, gid };
    } finally {
      await handle.close();
    }
  }

  /**
   * Whether taking the folder away from all other users would break something. A sticky one that holds nothing but our
   * own files is a disk in memory that was mounted for us: its mode is 1777 unless somebody says otherwise.
   */
  async #isShared(folder: string, mode: number): Promise<boolean> {
    const place = await realpath(folder);
    if (dirname(place) === '/' || SHARED_PLACES.has(place)) return true;
    if ((mode & STICKY) === 0) return false;
    await removeLeftovers(this.path);
    return (await readdir(folder)).some((name) => name !== basename(this.path));
  }

  /** sshd (StrictModes) silently ignores a key file below a folder that others could exchange. */
  async #reportWhatSshdRefuses(owner: FileOwner): Promise<void> {
    let folder = await realpath(dirname(this.path));
    for (;;) {
      const { uid, mode } = await stat(folder);
      if ((mode & WRITABLE_BY_OTHERS) !== 0 || (uid !== 0 && uid !== owner.uid)) {
        const facts = { folder, mode: (mode & 0o7777).toString(8), uid };
        this.#log.warn(facts, 'sshd may refuse the key: others than its owner and root can change this folder');
      }
      if (folder === dirname(folder)) return;
      folder = dirname(folder);
    }
  }
}

function validKey(text: string): PublicKey | null {
  try {
    return parsePublicKey(text);
  } catch {
    return null;
  }
}

/** What follows the options of an authorized_keys line: from the first blank outside of double quotes (sshd(8)). */
function afterOptions(line: string): string {
  let quoted = false;
  for (let at = 0; at < line.length; at += 1) {
    if (line.startsWith('\\"', at)) at += 1;
    else if (line[at] === '"') quoted = !quoted;
    else if (line[at] === ' ' && !quoted) return line.slice(at);
  }
  return '';
}
