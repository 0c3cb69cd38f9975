import { runSsh } from '../openssh/run.ts';
import type { HostKeys, SshEnd } from '../openssh/types.ts';
import type { Clock } from '../support/clock.ts';
import { Failure } from '../support/failures.ts';
import type { Log } from '../support/log.ts';
import { named, type SessionEnd, saysReplaced, type Transport } from './transport.ts';

export interface SshTransportOptions {
  program: string;
  gateway: { host: string; port: number };
  token: string;
  hostKeys: HostKeys;
  /** Name to local port, in the order of the requests: the gateway knows a service by its place in it. */
  forwards: Readonly<Record<string, number>>;
  /** Where the pairing routes listen now. A forward to one of them would let the gateway pair. */
  pairingPorts: () => readonly number[];
  /** See `SshOptions`; the deadline is read anew for every session. */
  folder: string;
  connectTimeoutMs: number;
  clock: Clock;
  log: Log;
}

/** Connections through ssh come from this machine itself, and not by a name that somebody could point elsewhere. */
const LOCAL = '127.0.0.1';

/** The tunnel through an SSH gateway, held by the system's ssh. */
export function sshTransport(options: SshTransportOptions): Transport {
  const { program, gateway, token, hostKeys, pairingPorts, folder, clock, log } = options;
  const services = Object.entries(options.forwards).map(([name, localPort]) => ({ name, localPort }));
  const ssh = {
    ...{ program, ...gateway, user: token, identityFile: null, hostKeys, folder, clock, log },
    forwards: services.map(({ localPort }) => ({
      kind: 'remote' as const,
      target: { host: LOCAL, port: localPort },
    })),
  };
  return {
    name: 'ssh',
    peer: { ...gateway, tls: false },
    secret: token,
    async connect({ up, note, served }, stop) {
      refusePairing(services, pairingPorts());
      const events = {
        up: ({ forwards, streams }: { forwards: { port: number }[]; streams(): number }) =>
          up({
            protocol: 'ssh',
            peerDeviceKey: null,
            streams,
            forwards: services.map((service, index) => ({ ...service, remotePort: forwards[index]?.port ?? 0 })),
          }),
        note,
        served,
      };
      const run = runSsh({ ...ssh, connectTimeoutMs: options.connectTimeoutMs }, events, stop);
      return named(run.then(sessionEnd));
    },
    close: () => Promise.resolve(),
  };
}

/**
 * The configuration refuses it already. What the routes really listen on is asked again before each connection: they
 * cannot tell a visitor of the gateway from one of this machine, since ssh connects from 127.0.0.1 as everybody does.
 */
function refusePairing(services: readonly { name: string; localPort: number }[], ports: readonly number[]): void {
  const bad = services.find(({ localPort }) => ports.includes(localPort));
  if (bad === undefined) return;
  throw new Failure(
    'ssh.pairing-forwarded',
    `the forward ${bad.name} leads to port ${bad.localPort}, where the pairing routes listen`,
  );
}

function sessionEnd({ heldMs, failure, reason }: SshEnd): SessionEnd {
  return { ending: { kind: reason !== null && saysReplaced(reason) ? 'replaced' : 'lost', heldMs }, failure };
}
