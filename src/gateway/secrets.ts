import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { join } from 'node:path';
import { fileErrorReason, removeLeftovers, replaceFile } from '../support/atomic-file.ts';
import { Failure, systemCode } from '../support/failures.ts';
import { readSmallFile, UnfitFile } from '../support/small-file.ts';
import type { Device } from './types.ts';

/** In the data folder; one line of base64. */
export const SECRET_KEY_FILE = 'gateway.key';

const KEY_BYTES = 32;
const KEY_LINE = /^([A-Za-z0-9+/]{43}=)\n?$/;
const READ_MAX_BYTES = 1024;
const GROUP_AND_OTHERS = 0o077;

/** The text form of a sealed token: the version, then base64url of the three parts. */
const SEALED = /^v1\.([A-Za-z0-9_-]+)$/;
const CIPHER = 'aes-256-gcm';
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/**
 * What tokens are kept with: as a keyed hash where it is enough to compare them, encrypted where they must be shown
 * again. Both keys come from one file beside the database, so that a stolen copy of the database alone lets nobody in.
 */
export class Secrets {
  readonly #hashKey: Buffer;
  readonly #sealKey: Buffer;

  private constructor(key: Buffer) {
    this.#hashKey = derive(key, 'zeroforce gateway: token fingerprint 1');
    this.#sealKey = derive(key, 'zeroforce gateway: token seal 1');
  }

  /**
   * Reads the key file, or makes it where there is none and nothing was ever made with one. The caller holds the lock
   * of the folder.
   *
   * @param devices those of the store: with any, a missing key is not made anew, and one must open what it sealed
   * @throws Failure `gateway.secret-key-unusable`; the file is left as it is
   */
  static async open(
    dataDir: string,
    devices: readonly Pick<Device, 'key' | 'tunnelTokenSealed'>[] = [],
  ): Promise<Secrets> {
    const path = join(dataDir, SECRET_KEY_FILE);
    const key = (await readKey(path)) ?? (await makeKey(path, devices.length));
    const secrets = new Secrets(key);
    const sealed = devices.find((device) => device.tunnelTokenSealed !== null);
    if (sealed?.tunnelTokenSealed != null) secrets.unseal(sealed.tunnelTokenSealed, sealed.key);
    return secrets;
  }

  /** HMAC-SHA256 in hex: the same for the same token, and useless without the key file. */
  fingerprint(token: string): string {
    return createHmac('sha256', this.#hashKey).update(token, 'utf8').digest('hex');
  }

  /** The token encrypted for this device: moved to another one, it does not open. */
  seal(token: string, deviceKey: string): string {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv(CIPHER, this.#sealKey, nonce, { authTagLength: TAG_BYTES });
    cipher.setAAD(Buffer.from(deviceKey, 'utf8'));
    const text = Buffer.concat([cipher.update(token, 'utf8'), cipher.final()]);
    return `v1.${Buffer.concat([nonce, text, cipher.getAuthTag()]).toString('base64url')}`;
  }

  /** @throws Failure `gateway.secret-key-unusable` where it was sealed with another key, for another device, or altered */
  unseal(sealed: string, deviceKey: string): string {
    const bytes = Buffer.from(SEALED.exec(sealed)?.[1] ?? '', 'base64url');
    try {
      if (bytes.length < NONCE_BYTES + TAG_BYTES) throw new Error('it is not a sealed token of a known version');
      const decipher = createDecipheriv(CIPHER, this.#sealKey, bytes.subarray(0, NONCE_BYTES), {
        authTagLength: TAG_BYTES,
      });
      decipher.setAAD(Buffer.from(deviceKey, 'utf8'));
      decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
      return Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]).toString();
    } catch (error) {
      const sentence = `the token of ${deviceKey} does not open with this ${SECRET_KEY_FILE}: it was sealed with another one`;
      throw new Failure('gateway.secret-key-unusable', sentence, { cause: error });
    }
  }
}

function derive(key: Buffer, purpose: string): Buffer {
  return Buffer.from(hkdfSync('sha256', key, '', purpose, KEY_BYTES));
}

/** Null where there is no such file. */
async function readKey(path: string): Promise<Buffer | null> {
  try {
    const { bytes, stats } = await readSmallFile(path, READ_MAX_BYTES, constants.O_NOFOLLOW);
    if (stats.uid !== process.geteuid?.()) throw new UnfitFile(`it belongs to user ${stats.uid}`);
    if ((stats.mode & GROUP_AND_OTHERS) !== 0) {
      throw new UnfitFile(`it is open to others: mode ${(stats.mode & 0o7777).toString(8).padStart(4, '0')}`);
    }
    const line = KEY_LINE.exec(bytes.toString('latin1'))?.[1];
    const key = Buffer.from(line ?? '', 'base64');
    if (key.length !== KEY_BYTES) throw new UnfitFile(`it is not one line of base64 of ${KEY_BYTES} bytes`);
    return key;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null;
    const reason = systemCode(error) === 'ELOOP' ? 'it is a link' : fileErrorReason(error);
    throw new Failure('gateway.secret-key-unusable', `${path} cannot be used: ${reason}`, { cause: error });
  }
}

async function makeKey(path: string, devices: number): Promise<Buffer> {
  if (devices > 0) {
    const sentence = `${path} is missing, and the tokens of ${devices} devices can be checked with nothing else`;
    throw new Failure('gateway.secret-key-unusable', sentence);
  }
  const key = randomBytes(KEY_BYTES);
  try {
    await removeLeftovers(path);
    const { durable } = await replaceFile(path, `${key.toString('base64')}\n`, { mode: 0o600 });
    if (!durable) throw new Error('it is written, but a power cut may undo it');
    return key;
  } catch (error) {
    throw new Failure('gateway.secret-key-unusable', `${path} could not be made: ${fileErrorReason(error)}`, {
      cause: error,
    });
  }
}
