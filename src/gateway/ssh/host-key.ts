import { join } from 'node:path';
import ssh2, { type ParsedKey } from 'ssh2';
import { fileErrorReason, removeLeftovers, replaceFile } from '../../support/atomic-file.ts';
import { Failure, systemCode } from '../../support/failures.ts';
import type { Log } from '../../support/log.ts';
import { readSmallFile, UnfitFile } from '../../support/small-file.ts';
import { fingerprintOf } from '../../support/ssh-blob.ts';

export const HOST_KEY_FILE = 'ssh_host_ed25519_key';
const TYPE = 'ssh-ed25519';
/** An ed25519 key in the format of OpenSSH has some 400 bytes, with its comment. */
const MAX_BYTES = 16 * 1024;

/** What the gateway proves itself with to every SSH client. */
export interface SshHostKey {
  /** In the format of OpenSSH. */
  readonly privateKey: string;
  /** `ssh-ed25519 AAAA…`, without a comment: what devices pin. */
  readonly publicKey: string;
  /** `SHA256:…` */
  readonly fingerprint: string;
}

/**
 * Reads the host key of the data folder; makes one where there is none, and only there: another key than the one that
 * the devices have pinned locks all of them out, so that one which cannot be used is never replaced (wire 5.8).
 *
 * @throws Failure `gateway.host-key-unusable`; `gateway.data-dir-unusable` where none can be written
 */
export async function loadHostKey(dataDir: string, log: Log, generate = generateKey): Promise<SshHostKey> {
  const path = join(dataDir, HOST_KEY_FILE);
  const text = await readKey(path);
  const key = text === null ? await makeKey(path, generate) : parseKey(path, text);
  if (text === null) log.warn({ path, fingerprint: key.fingerprint }, 'a new SSH host key was made');
  await writePublicKey(`${path}.pub`, key.publicKey, log);
  return key;
}

/** Null where there is no file of that name. */
async function readKey(path: string): Promise<string | null> {
  try {
    const { bytes, stats } = await readSmallFile(path, MAX_BYTES);
    if ((stats.mode & 0o077) !== 0) {
      throw new UnfitFile(`others than its owner may use it (mode ${(stats.mode & 0o777).toString(8)})`);
    }
    return bytes.toString('latin1');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null;
    throw unusable(path, fileErrorReason(error), error);
  }
}

const generateKey = (): string => ssh2.utils.generateKeyPairSync('ed25519').private;

/** ssh2 drops a zero at the beginning of the public half: one key in 256 cannot be read again, and another is made. */
const MAX_GENERATED = 16;

function generateSound(path: string, generate: () => string): { text: string; key: SshHostKey } {
  for (let made = 1; ; made += 1) {
    const text = generate();
    try {
      return { text, key: parseKey(path, text) };
    } catch (error) {
      if (made === MAX_GENERATED) throw error;
    }
  }
}

async function makeKey(path: string, generate: () => string): Promise<SshHostKey> {
  const { text, key } = generateSound(path, generate);
  try {
    await removeLeftovers(path);
    await replaceFile(path, text, { mode: 0o600 });
  } catch (error) {
    const why = `the SSH host key cannot be written to ${path}: ${fileErrorReason(error)}`;
    throw new Failure('gateway.data-dir-unusable', why, { cause: error });
  }
  return key;
}

function parseKey(path: string, text: string): SshHostKey {
  const parsed = ssh2.utils.parseKey(text);
  if (parsed instanceof Error) throw unusable(path, parsed.message, parsed);
  const key = (Array.isArray(parsed) ? parsed[0] : parsed) as ParsedKey;
  if (!key.isPrivateKey()) throw unusable(path, 'it is not a private key');
  if (key.type !== TYPE) throw unusable(path, `it is of type ${key.type}, not ${TYPE}`);
  // The file holds both halves, and the parser does not compare them.
  const proof = key.sign('zeroforce');
  if (proof instanceof Error || key.verify('zeroforce', proof) !== true) {
    throw unusable(path, 'its private and its public half are not of one key');
  }
  const blob = key.getPublicSSH();
  return { privateKey: text, publicKey: `${TYPE} ${blob.toString('base64')}`, fingerprint: fingerprintOf(blob) };
}

/** For `ssh-keygen` and people; the gateway itself never reads it for anything else than this comparison. */
async function writePublicKey(path: string, publicKey: string, log: Log): Promise<void> {
  const line = `${publicKey}\n`;
  const there = await readSmallFile(path, MAX_BYTES).catch(() => null);
  if (there?.bytes.toString('latin1') === line) return;
  try {
    await removeLeftovers(path);
    await replaceFile(path, line, { mode: 0o644 });
  } catch (error) {
    log.warn({ path, reason: fileErrorReason(error) }, 'the public half of the SSH host key cannot be written');
  }
}

function unusable(path: string, why: string, cause?: unknown): Failure {
  return new Failure('gateway.host-key-unusable', `the SSH host key ${path} cannot be used: ${why}`, { cause });
}
