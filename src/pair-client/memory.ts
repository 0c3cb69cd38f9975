import { createHmac } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { fileErrorReason, replaceFile } from '../support/atomic-file.ts';
import { Failure } from '../support/failures.ts';
import type { Target } from './target.ts';

/** What is kept beside the private key, 0600: all of it is small, and nothing is written while nothing changes. */
export interface Memory {
  /** The host key of the first connection; written by ssh's supervisor. */
  knownHostsFile: string;
  /** Whether there has been a first connection. */
  isPinned(): Promise<boolean>;
  /** The name of the device that was connected with last, where the target names none. */
  deviceName(): Promise<string | null>;
  /** @throws Failure `pair.state-unwritable` */
  rememberDevice(name: string): Promise<void>;
  /** Whether this PIN was refused by a device that had made it into this salt: a new PIN comes with a new salt. */
  wasRefused(pin: string, salt: string): Promise<boolean>;
  /** @throws Failure `pair.state-unwritable` */
  rememberRefused(pin: string, salt: string): Promise<void>;
  refusedPinFile: string;
}

const MAX_NAME_BYTES = 256;

/**
 * One key may serve several devices that are named, so each name has files of its own; a key that is used without
 * naming a device belongs to the one that it was used with first.
 */
export function memoryOf(identityFile: string, target: Target): Memory {
  const named = target.kind === 'any' ? '' : `.${encodeURIComponent(nameOf(target).toLowerCase())}`;
  const knownHostsFile = `${identityFile}${named}.known_hosts`;
  const deviceFile = `${identityFile}.device`;
  const refusedPinFile = `${identityFile}.refused-pin`;

  /**
   * A refused PIN is often one digit away from the right one. So it is kept under the private key: of use to nobody who
   * could not use that key itself.
   */
  const refusal = async (pin: string, salt: string) =>
    createHmac('sha256', await readFile(identityFile))
      .update(`zeroforce refused pin 1\n${salt}\n${pin}`)
      .digest('hex');

  return {
    knownHostsFile,
    refusedPinFile,
    async isPinned() {
      return (await stat(knownHostsFile).catch(() => null)) !== null;
    },
    async deviceName() {
      if (target.kind !== 'any') return null;
      const text = await readFile(deviceFile, 'utf8').catch(() => '');
      return text.trim() === '' || text.length > MAX_NAME_BYTES ? null : text.trim();
    },
    async rememberDevice(name) {
      if (target.kind === 'any') await write(deviceFile, `${name}\n`);
    },
    async wasRefused(pin, salt) {
      const kept = await readFile(refusedPinFile, 'utf8').catch(() => '');
      return kept.trim() === (await refusal(pin, salt));
    },
    async rememberRefused(pin, salt) {
      await write(refusedPinFile, `${await refusal(pin, salt)}\n`);
    },
  };
}

export function nameOf(target: Exclude<Target, { kind: 'any' }>): string {
  return target.kind === 'name' ? target.name : target.host;
}

async function write(path: string, text: string): Promise<void> {
  try {
    await replaceFile(path, text, { mode: 0o600 });
  } catch (error) {
    throw new Failure('pair.state-unwritable', `cannot write ${path}: ${fileErrorReason(error)}`, { cause: error });
  }
}
