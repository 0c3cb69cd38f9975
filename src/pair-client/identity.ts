import { chmod, type FileHandle, link, mkdtemp, open, readFile, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fileErrorReason, makeFolder, syncFolder } from '../support/atomic-file.ts';
import type { Clock } from '../support/clock.ts';
import { Failure, systemCode } from '../support/failures.ts';
import { runProgram } from '../support/program.ts';
import { fingerprintOf } from '../support/ssh-blob.ts';
import { cleanText } from '../support/text.ts';

export interface Identity {
  /** The private key. */
  path: string;
  /** `type base64 comment`, as it is sent. */
  publicLine: string;
  /** `SHA256:…`, as ssh-keygen prints it. */
  fingerprint: string;
  /** Whether it was made just now. */
  isNew: boolean;
  /** Whether others could read it until now. */
  wasExposed: boolean;
}

interface Tools {
  clock: Clock;
  signal: AbortSignal;
}

const KEYGEN_TIMEOUT_MS = 60_000; // a slow board that has just started has little randomness
const MAX_KEYGEN_BYTES = 65_536;
const COMMENT = 'zeroforce-pair';

/**
 * The key that the tunnel is opened with: the one in `path`, or, where there is none, one made now (ed25519, without a
 * passphrase, because nobody is there to type it after a restart).
 * @throws Failure `pair.identity`, `ssh.missing`, `pair.state-unwritable`
 */
export async function prepareIdentity(path: string, tools: Tools): Promise<Identity> {
  const isNew = !(await isThere(path)) && (await make(path, tools));
  const wasExposed = await protect(path);
  const publicLine = await publicLineOf(path, tools);
  await checkPublicFile(path, publicLine);
  const fingerprint = fingerprintOf(Buffer.from(publicLine.split(' ')[1] ?? '', 'base64'));
  return { path, publicLine, fingerprint, isNew, wasExposed };
}

async function isThere(path: string): Promise<boolean> {
  try {
    if ((await stat(path)).isFile()) return true;
    throw new Failure('pair.identity', `${path} is no file`);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return false;
    throw error instanceof Failure ? error : unusable(path, error);
  }
}

/** ssh ignores a key that others can read. True when that had to be changed. */
async function protect(path: string): Promise<boolean> {
  const { mode } = await stat(path);
  if ((mode & 0o077) === 0) return false;
  try {
    await chmod(path, 0o600);
    return true;
  } catch (error) {
    const sentence = `others can read ${path} and this user may not change that: ${fileErrorReason(error)}`;
    throw new Failure('pair.identity', sentence, { cause: error });
  }
}

/** ssh offers the public key of `path.pub` where there is one, whatever the private key is. */
async function checkPublicFile(path: string, publicLine: string): Promise<void> {
  const beside = await readFile(`${path}.pub`, 'utf8').catch(() => null);
  if (beside === null || beside.split(/\s+/)[1] === publicLine.split(' ')[1]) return;
  throw new Failure('pair.identity', `${path}.pub belongs to another key than ${path}; remove it or put the right one`);
}

async function publicLineOf(path: string, tools: Tools): Promise<string> {
  // The empty passphrase keeps it from asking for one; it is no secret.
  const { exitCode, stdout, stderr } = await keygen(['-y', '-P', '', '-f', path], tools);
  const [type = '', base64 = '', ...words] = stdout.trim().split(' ');
  if (exitCode === 0 && /^[a-z0-9@.-]+$/.test(type) && /^[A-Za-z0-9+/]+=*$/.test(base64)) {
    const comment = words.join(' ');
    return `${type} ${base64} ${/^[\x21-\x7e][\x20-\x7e]{0,99}$/.test(comment) ? comment : COMMENT}`;
  }
  if (/passphrase/i.test(stderr)) throw new Failure('pair.identity', `${path} is protected by a passphrase`);
  throw new Failure('pair.identity', `${path} is no private key that ssh-keygen can read: ${lastLine(stderr)}`);
}

/**
 * Makes the key beside its place and puts it there complete, or not at all. False when somebody else was faster: then
 * theirs is used.
 */
async function make(path: string, tools: Tools): Promise<boolean> {
  let folder: string | null = null;
  try {
    await makeFolder(dirname(path), 0o700);
    folder = await mkdtemp(join(dirname(path), `.${basename(path)}.new-`));
    const fresh = join(folder, 'key');
    const { exitCode, stderr } = await keygen(['-q', '-t', 'ed25519', '-N', '', '-C', COMMENT, '-f', fresh], tools);
    if (exitCode !== 0) throw new Failure('pair.identity', `ssh-keygen could not make ${path}: ${lastLine(stderr)}`);
    await sync(fresh);
    await link(fresh, path);
    await syncFolder(dirname(path));
    return true;
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return false;
    if (error instanceof Failure) throw error;
    throw new Failure('pair.state-unwritable', `cannot make ${path}: ${fileErrorReason(error)}`, { cause: error });
  } finally {
    if (folder !== null) await rm(folder, { recursive: true, force: true });
  }
}

async function sync(path: string): Promise<void> {
  let file: FileHandle | null = null;
  try {
    file = await open(path, 'r');
    await file.sync();
  } finally {
    await file?.close();
  }
}

async function keygen(args: string[], { clock, signal }: Tools) {
  const end = await runProgram({
    command: 'ssh-keygen',
    args,
    timeoutMs: KEYGEN_TIMEOUT_MS,
    maxBytes: MAX_KEYGEN_BYTES,
    clock,
    signal,
  });
  if (end.kind === 'ended') return end;
  if (end.kind === 'missing') throw new Failure('ssh.missing', 'the program ssh-keygen is not installed');
  throw new Failure('pair.identity', `ssh-keygen did not end in order (${end.kind})`);
}

function unusable(path: string, error: unknown): Failure {
  return new Failure('pair.identity', `${path} cannot be read: ${fileErrorReason(error)}`, { cause: error });
}

function lastLine(text: string): string {
  return cleanText(text.trim().split('\n').at(-1) ?? '') || 'it says nothing';
}
