import { isOwnProbe } from '../../support/own-probe.ts';
import type { Facts, Probe } from '../facts.ts';
import type { TcpConnection } from '../tools.ts';

/** What the monitor's netstat shows, run once. @throws Failure `monitor.netstat-*` */
export const connections: Probe<readonly TcpConnection[]> = ({ tools, signal }) => tools.connections(signal);

/** The connections among them that are a paired tunnel, as the monitor counts them. */
export function tunnelsAmong(all: readonly TcpConnection[], { config }: Facts): TcpConnection[] {
  const { port } = config.tunnel;
  const either = config.monitor.count === 'either';
  return all.filter(
    ({ local, remote, state }) =>
      state === 'ESTABLISHED' &&
      (local.port === port || (either && remote.port === port)) &&
      !isOwnProbe({ local, remote }),
  );
}
