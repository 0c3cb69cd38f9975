import type { Facts, Probe } from '../facts.ts';
import { type Contact, type Greeting, understand } from '../sshd/greeting.ts';
import type { StreamResult } from '../tools.ts';
import { greetings } from './sshd.ts';

/** Where the tunnel leads a technician, and who is there. */
export interface Target {
  /** Null where the tunnel may not open an SSH server at all. */
  readonly port: number | null;
  /** The variable that says so. */
  readonly setting: string;
  /** Everything that the tunnel may open, as it is written there. */
  readonly services: string;
  /** Null without a port. */
  readonly greeting: Greeting | null;
}

/** A local server answers in milliseconds; hosts.deny and DNS may take their time. */
const GREETING_MS = 4_000;
const CLIENT_LINE = 'SSH-2.0-zeroforce_diagnose\r\n';

/** Goes the way of a stream of the tunnel, as far as the first words. */
export const target: Probe<Target> = async (facts) => {
  const { setting, ports } = forwardsOf(facts);
  const services = Object.entries(ports)
    .map(([name, port]) => `${name}=${port}`)
    .join(',');
  const port = sshPort(ports, facts.options.sshPort);
  if (port === null) return { port, setting, services, greeting: null };
  const { signal, tools } = facts;
  if (port === facts.config.tunnel.port) {
    // Our stream would count as a paired tunnel; the greeting is heard in a way that does not.
    return { port, setting, services, greeting: (await facts.get(greetings('sshd'))).first };
  }
  const result = await tools.openStream(port, { greeting: CLIENT_LINE, timeoutMs: GREETING_MS, signal });
  return { port, setting, services, greeting: understand(contactOf(result)) };
};

/** What the tunnel may open, by name. */
export function forwardsOf({ config: { ssh, services } }: Facts): {
  setting: string;
  ports: Readonly<Record<string, number>>;
} {
  if (ssh !== null) return { setting: 'ZEROFORCE_SSH_FORWARDS', ports: ssh.forwards };
  return { setting: 'ZEROFORCE_SERVICES', ports: services };
}

/** Services go by name; the protocol of the Meeting proxy by port, so that another name does as well. */
function sshPort(ports: Readonly<Record<string, number>>, given: number | null): number | null {
  const named = ports.ssh ?? ports.scp;
  if (named !== undefined) return named;
  const usual = given ?? 22;
  return Object.values(ports).includes(usual) ? usual : null;
}

function contactOf(result: StreamResult): Contact {
  const nothing = Buffer.alloc(0);
  switch (result.kind) {
    case 'answered':
      return { kind: 'opened', bytes: result.firstBytes, end: 'waiting' };
    case 'closed':
      return { kind: 'opened', bytes: nothing, end: result.reset ? 'reset' : 'closed' };
    case 'silent':
      return { kind: 'opened', bytes: nothing, end: 'waiting' };
    case 'failed': {
      if (result.reason === 'timeout') return { kind: 'no-answer' };
      const code = /\bE[A-Z]{3,}\b/.exec(result.sentence)?.[0] ?? result.reason;
      return code === 'ECONNREFUSED' ? { kind: 'refused' } : { kind: 'failed', code };
    }
  }
}
