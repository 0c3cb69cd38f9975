import { lstatSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { rename, symlink, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { makeFolder, removeFile, removeLeftovers, replaceFile, syncFolder } from '../support/atomic-file.ts';
import { systemCode } from '../support/failures.ts';
import type { Change } from './model.ts';

/** The change that takes this one back. */
export function inverse(change: Change): Change {
  if (change.change === 'rename') return { ...change, from: change.to, to: change.from };
  if (change.change === 'text') return { ...change, before: change.after, after: change.before };
  return { ...change, change: change.change === 'link' ? 'unlink' : 'link' };
}

/**
 * Makes a change that survives a power cut; one that was made already is left. Each is one step of the file system.
 * @throws Error where the file is neither as it was before the change nor as after it: somebody else has changed it
 */
export async function make(change: Change): Promise<void> {
  switch (change.change) {
    case 'unlink':
      return removeLink(change);
    case 'link':
      return makeLink(change);
    case 'rename':
      return move(change);
    case 'text':
      return writeText(change);
  }
}

async function removeLink({ path, target }: { path: string; target: string }): Promise<void> {
  const found = linkAt(path);
  if (found === null) return syncFolder(dirname(path)).catch(unlessMissing);
  if (found !== target) throw new Error(`${path} leads to ${found} now, and not to ${target}; it was left as it is`);
  await unlink(path);
  await syncFolder(dirname(path));
}

async function makeLink({ path, target }: { path: string; target: string }): Promise<void> {
  const found = linkAt(path);
  if (found === target) return;
  if (found !== null) throw new Error(`${path} leads to ${found} now, and not to ${target}; it was left as it is`);
  await makeFolder(dirname(path), 0o755);
  await symlink(target, path);
  await syncFolder(dirname(path));
}

async function move({ from, to }: { from: string; to: string }): Promise<void> {
  if (!isThere(from)) {
    if (isThere(to)) return syncFolder(dirname(to));
    throw new Error(`neither ${from} nor ${to} is there any more`);
  }
  if (isThere(to)) throw new Error(`${to} is there already, so ${from} was left as it is`);
  await rename(from, to);
  await syncFolder(dirname(to));
  if (dirname(from) !== dirname(to)) await syncFolder(dirname(from));
}

async function writeText({ path, before, after, mode }: Change & { change: 'text' }): Promise<void> {
  const found = contentAt(path);
  if (found === after) return;
  if (found !== before) throw new Error(`${path} was changed by somebody meanwhile; it was left as it is`);
  if (after === null) return removeFile(path);
  await makeFolder(dirname(path), 0o755);
  await removeLeftovers(path);
  const stats = found === null ? null : statSync(path);
  const { durable } = await replaceFile(path, Buffer.from(after, 'base64'), {
    mode: stats === null ? mode : stats.mode & 0o7777,
    ...(stats === null ? {} : { owner: { uid: stats.uid, gid: stats.gid } }),
  });
  if (!durable) throw new Error(`${path} is written, but a power cut may undo it`);
  await wakeCron(path);
}

/** The cron of BusyBox looks for changes once an hour, unless this file says whose table has changed. */
async function wakeCron(path: string): Promise<void> {
  const [, folder, user] = /^(\/(?:etc|var\/spool\/cron)\/crontabs)\/([^/]+)$/.exec(path) ?? [];
  if (folder === undefined || user === undefined || isThere('/etc/cron.d')) return;
  await replaceFile(`${folder}/cron.update`, `${user}\n`, { mode: 0o600 }).catch(() => undefined);
}

function linkAt(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null;
    throw error;
  }
}

/** base64, null where there is no such file. */
function contentAt(path: string): string | null {
  try {
    return readFileSync(path).toString('base64');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null;
    throw error;
  }
}

function isThere(path: string): boolean {
  try {
    lstatSync(path);
    return true;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return false;
    throw error;
  }
}

function unlessMissing(error: unknown): void {
  if (systemCode(error) !== 'ENOENT') throw error;
}
