import { createPrivateKey, X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import type { Cancel, Clock } from '../support/clock.ts';
import { Failure, systemCode } from '../support/failures.ts';
import type { Log } from '../support/log.ts';
import { readSmallFile, UnfitFile } from '../support/small-file.ts';

/** PEM texts of a certificate with its chain, and of its key. */
export interface KeyPair {
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** Between two looks at the files. */
const LOOK_MS = 5_000;
/** A chain of a dozen certificates has a tenth of that. */
const LIMIT_BYTES = 256 * 1024;

/**
 * The certificate of our TLS ports. Its files may be replaced while we run, one after the other: what does not fit
 * together is told once, and the old pair stays until the new one does.
 */
export class Certificate {
  readonly #paths: { readonly cert: string; readonly key: string };
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #listeners = new Set<(pair: KeyPair) => void>();
  #current: KeyPair;
  /** What was told last, until all is well again. */
  #trouble: string | null = null;
  #cancel: Cancel | null = null;
  #running = false;
  #looking = false;

  /** @throws Failure `gateway.certificate-unusable` */
  static async load(
    paths: { cert: string; key: string },
    { clock, log }: { clock: Clock; log: Log },
  ): Promise<Certificate> {
    const pair = await read(paths);
    check(paths, pair);
    return new Certificate(paths, pair, clock, log);
  }

  private constructor(paths: { cert: string; key: string }, pair: KeyPair, clock: Clock, log: Log) {
    this.#paths = paths;
    this.#current = pair;
    this.#clock = clock;
    this.#log = log;
  }

  get current(): KeyPair {
    return this.#current;
  }

  /** Calls `listener` with each new pair; the returned function ends that. */
  onChange(listener: (pair: KeyPair) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Begins to look at the files. */
  start(): void {
    this.#running = true;
    this.#lookLater();
  }

  stop(): void {
    this.#running = false;
    this.#cancel?.();
    this.#cancel = null;
  }

  /** For whoever has just replaced the files and does not want to wait. */
  lookNow(): void {
    if (!this.#running || this.#looking) return;
    this.#cancel?.();
    void this.#look();
  }

  #lookLater(): void {
    if (this.#running) this.#cancel = this.#clock.after(LOOK_MS, () => void this.#look());
  }

  async #look(): Promise<void> {
    this.#looking = true;
    try {
      const pair = await read(this.#paths);
      const news = !same(pair, this.#current);
      if (news) check(this.#paths, pair);
      this.#trouble = null;
      if (!news || !this.#running) return;
      this.#current = pair;
      this.#log.info({ cert: this.#paths.cert }, 'the certificate was read anew');
      for (const listener of [...this.#listeners]) listener(pair);
    } catch (error) {
      if (this.#running) this.#tell(error as Failure);
    } finally {
      this.#looking = false;
      this.#lookLater();
    }
  }

  #tell(failure: Failure): void {
    if (failure.message === this.#trouble) return;
    this.#trouble = failure.message;
    const { code, remedy } = failure;
    this.#log.error({ code, remedy }, `${failure.message}; the certificate of before stays in use`);
  }
}

const same = (one: KeyPair, other: KeyPair) => one.cert.equals(other.cert) && one.key.equals(other.key);

async function read(paths: { cert: string; key: string }): Promise<KeyPair> {
  const [cert, key] = await Promise.all([readPem(paths.cert), readPem(paths.key)]);
  return { cert, key };
}

async function readPem(path: string): Promise<Buffer> {
  try {
    return (await readSmallFile(path, LIMIT_BYTES)).bytes;
  } catch (cause) {
    const why = cause instanceof UnfitFile ? cause.message : `it cannot be read: ${systemCode(cause) ?? 'unknown'}`;
    throw unusable(path, why, cause);
  }
}

/** @throws Failure where no TLS port could use the pair */
function check(paths: { cert: string; key: string }, pair: KeyPair): void {
  const certificate = attempt(paths.cert, 'it holds no certificate in PEM', () => new X509Certificate(pair.cert));
  const key = attempt(paths.key, 'it holds no private key in PEM without a passphrase', () =>
    createPrivateKey(pair.key),
  );
  if (!certificate.checkPrivateKey(key)) throw unusable(paths.key, `it is not the key of ${paths.cert}`);
  attempt(paths.cert, 'TLS does not take it', () => createSecureContext({ ...pair }));
}

function attempt<T>(path: string, why: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    throw unusable(path, why, cause);
  }
}

function unusable(path: string, why: string, cause?: unknown): Failure {
  return new Failure('gateway.certificate-unusable', `the TLS file ${path} cannot be used: ${why}`, { cause });
}
