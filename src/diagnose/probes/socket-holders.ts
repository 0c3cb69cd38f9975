import { readdir, readlink } from 'node:fs/promises';
import { MASK } from '../../config/secret.ts';
import { textOf } from '../../support/readable.ts';
import { cleanText } from '../../support/text.ts';
import { maskNamed } from '../bundle/secret-names.ts';
import type { Facts, Probe } from '../facts.ts';
import { udpInodes, unixListener } from '../proc/proc-text.ts';
import { programs, type RunningProgram } from './sockets.ts';

/** Which program holds which socket of any kind, by inode; another user than root sees its own only. The first of several. */
export const socketHolders: Probe<ReadonlyMap<number, RunningProgram>> = async (facts) => {
  const holders = new Map<number, RunningProgram>();
  for (const program of await facts.get(programs)) {
    for (const inode of await socketsOf(program.pid)) if (!holders.has(inode)) holders.set(inode, program);
  }
  return holders;
};

/** Who listens at a Unix socket: `nobody`, or null for a program that this user may not see. */
export async function unixSocketHolder(facts: Facts, path: string): Promise<RunningProgram | 'nobody' | null> {
  const inode = unixListener(textOf('/proc/net/unix'), path);
  return inode === null ? 'nobody' : ((await facts.get(socketHolders)).get(inode) ?? null);
}

const MAX_ARGUMENTS_CHARACTERS = 2_000;

/** `python3 -m http.server (process 123)`, fit to be shown: the arguments of others may hold a password. */
export function describeProgram({ pid, name, words }: Pick<RunningProgram, 'pid' | 'name' | 'words'>): string {
  const shown = maskNamed(words.join(' ').slice(0, MAX_ARGUMENTS_CHARACTERS), MASK);
  return `${cleanText(shown, 80) || cleanText(name)} (process ${pid})`;
}

async function socketsOf(pid: number): Promise<number[]> {
  const folder = `/proc/${pid}/fd`;
  const names = await readdir(folder).catch(() => []);
  const targets = await Promise.all(names.map((name) => readlink(`${folder}/${name}`).catch(() => '')));
  return targets.flatMap((target) => {
    const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1];
    return inode === undefined ? [] : [Number(inode)];
  });
}

/** The programs that have a UDP port, each once; null in the place of those that this user may not see. */
export async function udpHolders(facts: Facts, port: number): Promise<(RunningProgram | null)[]> {
  const inodes = ['udp', 'udp6'].flatMap((name) => udpInodes(textOf(`/proc/net/${name}`), port));
  const holders = await facts.get(socketHolders);
  return [...new Set(inodes.map((inode) => holders.get(inode) ?? null))];
}
