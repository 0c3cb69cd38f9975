import { readFile } from 'node:fs/promises';
import type { Probe } from '../facts.ts';
import { isService, parseIdentity, placesOf } from '../proc-text.ts';
import { processes, type ProcessInfo } from './processes.ts';
import { service } from './service.ts';

export interface ServiceProcess extends ProcessInfo {
  /** Who it is when it opens files; null where that cannot be read. */
  readonly identity: { readonly uid: number; readonly groups: readonly number[] } | null;
  /** Where it was told to look; null each for the default, and where its environment cannot be read. */
  readonly places: { readonly config: string | null; readonly runDir: string | null };
}

/** The processes that are the service, by their arguments; first the one that answers, where one does. */
export const serviceProcesses: Probe<readonly ServiceProcess[]> = async (facts) => {
  const [all, { status }] = await Promise.all([facts.get(processes), facts.get(service)]);
  const found = all.filter(({ pid, args }) => pid === status?.pid || isService(args));
  const first = found.toSorted((a, b) => Number(b.pid === status?.pid) - Number(a.pid === status?.pid));
  return Promise.all(
    first.map(async (process) => {
      const text = (name: string) => readFile(`/proc/${process.pid}/${name}`, 'utf8').catch(() => '');
      const [identity, environment] = [parseIdentity(await text('status')), await text('environ')];
      return { ...process, identity, places: placesOf(process.args, environment) };
    }),
  );
};
