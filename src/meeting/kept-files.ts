import { fileErrorReason } from '../support/atomic-file.ts';
import { Failure } from '../support/failures.ts';
import { readSmallFile } from '../support/small-file.ts';
import type { HostKeyLine } from './answers.ts';
import { withKey } from './authorized-keys.ts';
import { editFile } from './edit-file.ts';
import { linesAbout, replaceHostKeys, type ServerHost } from './known-hosts.ts';
import { isPrivateKey, parseKeyLine, type SshKey } from './ssh-key.ts';

export interface KnownHosts {
  file: string;
  /** Whose keys the server may tell: its own machines. */
  hosts: readonly ServerHost[];
}

export interface Maintenance {
  /** authorized_keys files. */
  files: readonly string[];
  /** The file of the paired key, which none of them may be: pairing replaces it as a whole. */
  pairingFile: string;
}

const MAX_KEY_BYTES = 16 * 1024;
const PUBLIC_MODE = 0o644; // known_hosts holds no secret, and the ssh of any user may have to read it
const KEYS_MODE = 0o600;

/**
 * The public key of this device, as a line that can be published.
 * @throws Failure `meeting.public-key-file`, which repeats nothing of the file: it may be a private key
 */
export async function readOwnKey(path: string): Promise<string> {
  const refuse = (why: string, cause?: unknown) =>
    new Failure('meeting.public-key-file', `${path} cannot be published: ${why}`, { cause });
  const { bytes } = await readSmallFile(path, MAX_KEY_BYTES).catch((error: unknown) => {
    throw refuse(fileErrorReason(error), error);
  });
  const text = bytes.toString('latin1');
  if (isPrivateKey(text)) throw refuse('it holds a PRIVATE key; nothing was sent');
  const key = parseKeyLine(text);
  if (key === null) throw refuse('it is not one line with an SSH public key, type and base64');
  return [key.type, key.base64, key.comment].filter((word) => word !== '').join(' ');
}

/**
 * Brings the file up to date with what the server says about its own machines; true when it was changed.
 * @throws Failure `meeting.api-answer` when it says nothing about them, `meeting.known-hosts-file`
 */
export async function keepKnownHosts({ file, hosts }: KnownHosts, answer: readonly HostKeyLine[]): Promise<boolean> {
  const lines = linesAbout(hosts, answer);
  if (lines.length === 0) {
    const names = [...new Set(hosts.map(({ host }) => host))].join(' and ');
    throw new Failure('meeting.api-answer', `GET /api/ssh-hostkey: the answer has no host key of ${names}`);
  }
  try {
    return await editFile(file, (text) => replaceHostKeys(text, lines), { newMode: PUBLIC_MODE });
  } catch (error) {
    const sentence = `${file} could not be brought up to date: ${fileErrorReason(error)}`;
    throw new Failure('meeting.known-hosts-file', sentence, { cause: error });
  }
}

/**
 * Adds the key of the server to one file of a maintenance user; true when it was changed.
 * @throws Failure `meeting.maintenance-file`
 */
export async function keepMaintenanceKey(
  file: string,
  pairingFile: string,
  key: SshKey,
  server: string,
): Promise<boolean> {
  const why = `it is the same file as ${pairingFile}, and pairing would erase the maintenance keys`;
  try {
    return await editFile(file, (text) => withKey(text, key, `zeroforce-meeting@${server}`), {
      newMode: KEYS_MODE,
      never: { path: pairingFile, why },
    });
  } catch (error) {
    const sentence = `the key of the server was not added to ${file}: ${fileErrorReason(error)}`;
    throw new Failure('meeting.maintenance-file', sentence, { cause: error });
  }
}
