import type { Say } from '../check.ts';
import type { Facts } from '../facts.ts';
import { findService } from '../probes/init.ts';
import { absence, type Role, SERVICE_NAMES, type SshServer, sshServer } from '../probes/sshd.ts';

/** How the server of a role is called in a title, and how its port is. */
export const NAMES: Readonly<Record<Role, string>> = { sshd: 'sshd', paired: 'the dedicated sshd' };

/** What somebody sees whom this server keeps out. */
export const SEEN: Readonly<Record<Role, string>> = {
  sshd: 'The tunnel stands, and an SSH connection through it is reset or closed at once.',
  paired: 'The device is paired, and the client cannot build the paired tunnel.',
};

/** The server of the role; an outcome where there is nothing to say about it. */
export async function serverOf<Name extends string>(
  facts: Facts,
  role: Role,
  say: Say<Name>,
): Promise<{ server: SshServer; nothing: null } | { server: null; nothing: ReturnType<Say<Name>['skip']> }> {
  const why = await absence(facts, role);
  if (why !== null) return { server: null, nothing: say.skip(why) };
  return { server: await facts.get(sshServer(role)), nothing: null };
}

/** The command that has the server read its configuration again. */
export async function reloadOf(facts: Facts, role: Role, { configFile, daemon }: SshServer): Promise<string> {
  const service = await findService(facts, SERVICE_NAMES[role], role === 'paired' ? configFile : null);
  return service?.reload ?? `kill -HUP ${daemon?.program.pid ?? 'PID'}`;
}
