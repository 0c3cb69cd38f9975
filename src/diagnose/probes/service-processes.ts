import { lstat, readFile } from 'node:fs/promises';
import type { Facts, Probe } from '../facts.ts';
import { isService, type ProcessIdentity, parseIdentity, placesOf } from '../proc/proc-text.ts';
import { service } from './service.ts';
import { programs, type RunningProgram } from './sockets.ts';

export interface ServiceProcess extends RunningProgram {
  /** Who it is when it opens files; null where that cannot be read. */
  readonly identity: ProcessIdentity | null;
  /** Where it was told to look; null each for the default, and where its environment cannot be read. */
  readonly places: { readonly config: string | null; readonly runDir: string | null };
}

/**
 * The processes that are the service, by their arguments; first the one that answers, where one does. Any user can call
 * a process like that, and what is looked at by its help, its root and its output, is opened with the rights of the
 * checks: so it counts only as one of root, of whoever makes the checks, or of the owner of the run folder.
 */
export const serviceProcesses: Probe<readonly ServiceProcess[]> = async (facts) => {
  const [all, { status }] = await Promise.all([facts.get(programs), facts.get(service)]);
  const found = all.filter(({ pid, words }) => pid === status?.pid || isService(words));
  const first = found.toSorted((a, b) => Number(b.pid === status?.pid) - Number(a.pid === status?.pid));
  const owner = await lstat(facts.config.runDir).catch(() => null);
  const trusted = new Set([0, process.geteuid?.(), owner?.uid]);
  const known = await Promise.all(
    first.map(async (process) => {
      const text = (name: string) => readFile(`/proc/${process.pid}/${name}`, 'utf8').catch(() => '');
      const [identity, environment] = [parseIdentity(await text('status')), await text('environ')];
      return { ...process, identity, places: placesOf(process.words, environment) };
    }),
  );
  return known.filter(({ pid, identity }) => pid === status?.pid || trusted.has(identity?.uid));
};

/** Whether it is the service that this run is about, as far as its arguments and its environment tell. */
export function isHere({ places: { config, runDir } }: ServiceProcess, { settings, config: own }: Facts): boolean {
  if (runDir !== null) return runDir === own.runDir;
  return config === null || config === settings.file;
}

/** The process of the service that this run is about, the one that answers first; undefined where there is none. */
export async function serviceProcess(facts: Facts): Promise<ServiceProcess | undefined> {
  return (await facts.get(serviceProcesses)).find((process) => isHere(process, facts));
}
