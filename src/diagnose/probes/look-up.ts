import { lookup } from 'node:dns/promises';
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import type { Clock } from '../../support/clock.ts';
import { systemCode } from '../../support/failures.ts';
import type { Probe } from '../facts.ts';
import { type HostsEntry, hostsEntries, nameServers } from '../proxy/names.ts';

export type LookUp =
  /** It is an address already. */
  | { kind: 'literal'; addresses: readonly string[] }
  | { kind: 'found'; addresses: readonly string[] }
  /** There is no such name, or it has no address. */
  | { kind: 'unknown-name' }
  /** No server said anything of use; `how` in words. */
  | { kind: 'no-answer'; how: string };

/** A slow server is waited for so long, and a silent one no longer. */
const DEADLINE_MS = 4_500;
/** One packet may be lost: where no server has answered by then, they are asked once more. */
const AGAIN_WITHIN_MS = 2_500;

/** Asks as every program of this machine does: /etc/hosts, the DNS servers, whatever nsswitch.conf says. */
export async function lookUp(host: string, clock: Clock): Promise<LookUp> {
  if (isIP(host) !== 0) return { kind: 'literal', addresses: [host] };
  const startMs = clock.nowMs();
  const first = await within(DEADLINE_MS, host, clock);
  const passedMs = clock.nowMs() - startMs;
  if (first.kind !== 'no-answer' || passedMs > AGAIN_WITHIN_MS) return first;
  return within(DEADLINE_MS - passedMs, host, clock);
}

/** The look-up of the system cannot be ended; it is only no longer waited for. */
function within(timeoutMs: number, host: string, clock: Clock): Promise<LookUp> {
  return new Promise((resolve) => {
    const how = `no answer within ${(timeoutMs / 1000).toFixed(1)} s`;
    const cancel = clock.after(timeoutMs, () => resolve({ kind: 'no-answer', how }));
    void ask(host).then((found) => {
      cancel();
      resolve(found);
    });
  });
}

async function ask(host: string): Promise<LookUp> {
  try {
    const found = await lookup(host, { all: true });
    return { kind: 'found', addresses: [...new Set(found.map(({ address }) => address))] };
  } catch (error) {
    const code = systemCode(error) ?? String(error);
    return code === 'ENOTFOUND' ? { kind: 'unknown-name' } : { kind: 'no-answer', how: code };
  }
}

/** Of the Meeting proxy, or of the SSH gateway; null where no tunnel is configured. */
export const peerLookUp: Probe<LookUp | null> = async ({ tools: { tunnel }, clock }) =>
  tunnel === null ? null : lookUp(tunnel.peer.host, clock);

/** What the files of this machine say about the name of the other end. */
export const nameFiles: Probe<{ servers: string[]; entries: HostsEntry[]; lines: string[] }> = async ({ tools }) => {
  const read = (path: string) => readFile(path, 'utf8').catch(() => '');
  const [resolv, hosts] = await Promise.all([read('/etc/resolv.conf'), read('/etc/hosts')]);
  const servers = nameServers(resolv);
  const entries = hostsEntries(hosts, tools.tunnel?.peer.host ?? '');
  const lines = [
    `/etc/resolv.conf: ${servers.length === 0 ? 'no nameserver' : `nameserver ${servers.join(', ')}`}`,
    ...entries.map(({ line }) => `/etc/hosts: ${line}`),
  ];
  return { servers, entries, lines };
};
