import { constants, type FileHandle, open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { fileErrorReason, makeFolder, syncFolder } from '../support/atomic-file.ts';
import { Failure, systemCode } from '../support/failures.ts';
import type { Log } from '../support/log.ts';
import type { AuditEntry } from './audit-entry.ts';

/** When something happened. The wall clock of a Pi may be wrong by years, so the other two count. */
export interface AuditStamp {
  /** Wall time, ISO 8601 in UTC: for information only. */
  time: string;
  /** Which boot it was: the kernel's own random name of it. */
  bootId: string;
  /** Monotonic milliseconds since that boot, time asleep not counted (CLOCK_MONOTONIC of clock_gettime(2)). */
  uptimeMs: number;
}

/** A record as it is read back. `what` may be a word of a later version. */
export interface AuditRecord extends AuditStamp {
  what: string;
  /** SHA256:… of the key that it was about; absent where it was about none. */
  fingerprint?: string;
  /** An address, `local`, `boot file` or `button`. */
  source: string;
}

/** Both halves together are the ring of 64 KiB. */
const HALF_BYTES = 32 * 1024;
/** Far more than an address or a fingerprint has; what is longer is hostile. */
const TEXT_MAX = 128;
const FILE_MODE = 0o600;

export interface AuditOptions {
  stateDir: string;
  log: Log;
  stamp?: () => Promise<AuditStamp>;
}

/**
 * The record of every change of pairing (pairing: state machine 7): one line of JSON each, appended to `audit.log`.
 * A full file becomes `audit.old.log`, and what that one held is dropped. The reasons are in docs/reset.md.
 */
export class AuditRing {
  readonly #stateDir: string;
  readonly #young: string;
  readonly #old: string;
  readonly #log: Log;
  readonly #stamp: () => Promise<AuditStamp>;
  /** Records and readings run one after the other. */
  #last: Promise<unknown> = Promise.resolve();

  constructor({ stateDir, log, stamp = systemStamp }: AuditOptions) {
    this.#stateDir = stateDir;
    this.#young = join(stateDir, 'audit.log');
    this.#old = join(stateDir, 'audit.old.log');
    this.#log = log;
    this.#stamp = stamp;
  }

  /** Resolves when the record would survive a power cut. Never rejects: what cannot be recorded is logged. */
  record(entry: AuditEntry): Promise<void> {
    return this.#inTurn(async () => {
      try {
        const { what, fingerprint, source } = entry;
        const key = fingerprint === undefined ? {} : { fingerprint: fingerprint.slice(0, TEXT_MAX) };
        await this.#append({ ...(await this.#stamp()), what, ...key, source: source.slice(0, TEXT_MAX) });
      } catch (error) {
        const failure = new Failure('state.unwritable', `${this.#young}: ${fileErrorReason(error)}`);
        const facts = { ...entry, code: failure.code, remedy: failure.remedy };
        this.#log.error(facts, `a change of pairing could not be recorded: ${failure.message}`);
      }
    });
  }

  /**
   * All records, the oldest first. What a power cut left of a line is passed over.
   * @throws Failure `state.unreadable`
   */
  read(): Promise<AuditRecord[]> {
    return this.#inTurn(async () => [...(await readHalf(this.#old)), ...(await readHalf(this.#young))]);
  }

  #inTurn<T>(task: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(task);
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  async #append(record: AuditRecord): Promise<void> {
    const line = `${toAscii(JSON.stringify(record))}\n`;
    await makeFolder(this.#stateDir);
    let file = await this.#openYoung();
    try {
      const { size } = await file.stat();
      if (size + line.length + 1 > HALF_BYTES) {
        await file.close();
        await rename(this.#young, this.#old);
        file = await this.#openYoung();
        await syncFolder(this.#stateDir);
      } else if (size === 0) {
        await syncFolder(this.#stateDir); // it may be new
      }
      await file.appendFile((await endsTorn(file)) ? `\n${line}` : line);
      await file.datasync();
    } finally {
      await file.close();
    }
  }

  async #openYoung(): Promise<FileHandle> {
    const { O_RDWR, O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
    const file = await open(this.#young, O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, FILE_MODE);
    const stats = await file.stat();
    if (stats.isFile() && (stats.mode & 0o777) === FILE_MODE) return file;
    try {
      if (!stats.isFile()) throw new Error('it is not a regular file');
      await file.chmod(FILE_MODE);
      return file;
    } catch (error) {
      await file.close();
      throw error;
    }
  }
}

/** Whether the last line was cut: a power cut, or a disk that was full in the middle of it. */
async function endsTorn(file: FileHandle): Promise<boolean> {
  const { size } = await file.stat();
  if (size === 0) return false;
  const { buffer } = await file.read(Buffer.alloc(1), 0, 1, size - 1);
  return buffer[0] !== '\n'.charCodeAt(0);
}

async function readHalf(path: string): Promise<AuditRecord[]> {
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(HALF_BYTES), 0, HALF_BYTES, 0);
      return buffer.toString('latin1', 0, bytesRead).split('\n').flatMap(parseRecord);
    } finally {
      await file.close();
    }
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return [];
    throw new Failure('state.unreadable', `${path} could not be read: ${fileErrorReason(error)}`, { cause: error });
  }
}

function parseRecord(line: string): AuditRecord[] {
  try {
    const { time, bootId, uptimeMs, what, fingerprint, source } = JSON.parse(line) as Record<string, unknown>;
    if (typeof time !== 'string' || typeof bootId !== 'string' || typeof uptimeMs !== 'number') return [];
    if (typeof what !== 'string' || typeof source !== 'string') return [];
    return [{ time, bootId, uptimeMs, what, ...(typeof fingerprint === 'string' && { fingerprint }), source }];
  } catch {
    return []; // torn
  }
}

/** JSON of plain characters only: the file can be looked at in any terminal, whatever a client sent. */
function toAscii(json: string): string {
  return json.replace(/[\u007f-\uffff]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

let bootId: string | null = null;

async function systemStamp(): Promise<AuditStamp> {
  bootId ??= await readFile('/proc/sys/kernel/random/boot_id', 'latin1').then(
    (text) => text.trim(),
    () => 'unknown',
  );
  return {
    time: new Date().toISOString(),
    bootId,
    uptimeMs: Math.floor(Number(process.hrtime.bigint() / 1_000_000n)),
  };
}
