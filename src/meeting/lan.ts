import type { NetworkInterfaceInfo } from 'node:os';

/** What a heartbeat tells of the device's own network, in the words of the API. */
export interface Lan {
  ip_lan?: string;
  mac?: string;
}

/**
 * The address that the device uses towards the API, and the MAC of the interface that holds it. Nothing when the API
 * runs on this machine: a loopback address helps nobody.
 */
export function lanOf(localAddress: string | null, interfaces: NodeJS.Dict<NetworkInterfaceInfo[]>): Lan {
  const address = localAddress?.replace(/%.*$/, '') ?? null;
  const held = Object.values(interfaces)
    .flat()
    .find((each) => each?.address === address);
  if (address === null || held === undefined || held.internal) return {};
  return { ip_lan: address, ...(/^(?:00:){5}00$/.test(held.mac) ? {} : { mac: held.mac }) };
}
