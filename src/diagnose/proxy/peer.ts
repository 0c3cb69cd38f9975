import { hostAndPort } from '../../support/text.ts';
import type { TunnelTool } from '../tools.ts';

/** The other end, for the texts of its checks. */
export function peerWords({ transport, peer: { host, port } }: TunnelTool) {
  const meeting = transport === 'meeting';
  return {
    host,
    port,
    peer: hostAndPort(host, port),
    /** `Meeting proxy` or `SSH gateway`. */
    kind: meeting ? 'Meeting proxy' : 'SSH gateway',
    hostSetting: meeting ? 'MEETING_PROXY_HOST' : 'ZEROFORCE_SSH_HOST',
    portSetting: meeting ? 'MEETING_PROXY_PORT' : 'ZEROFORCE_SSH_PORT',
  };
}
