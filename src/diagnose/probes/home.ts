import { existsSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import type { Probe } from '../facts.ts';

/** The network at an interface of this device. */
export interface HomeNetwork {
  readonly device: string;
  /** Of this device. */
  readonly address: string;
  readonly prefix: number;
}

/** Made for containers and virtual machines: nobody's home. */
const INNER = /^(?:docker|br-[0-9a-f]{12}$|veth|virbr|vnet|lxc|lxd|cni|cali|flannel|podman)/;
const NO_MAC = '00:00:00:00:00:00';

/** The IPv4 networks whose machines are neighbours of this device. VPNs have no hardware address. */
export const homeNetworks: Probe<readonly HomeNetwork[]> = async () =>
  Object.entries(networkInterfaces())
    .filter(([device]) => !INNER.test(device))
    .flatMap(([device, infos = []]) =>
      infos
        .filter(({ family, internal, mac }) => family === 'IPv4' && !internal && mac !== NO_MAC)
        .map(({ address, cidr }) => ({ device, address, prefix: Number(cidr?.split('/')[1] ?? 32) })),
    );

/** Who of the home network is known to come, or is invited. */
export interface HomeUse {
  /** A client has its key here, and the service has seen its tunnel: a key alone may be anybody's. */
  readonly isPaired: boolean;
  /** The device announces that it can be paired. */
  readonly isOffered: boolean;
}

export const homeUse: Probe<HomeUse> = async ({ config, tools }) => {
  const key = await tools.pairedKey().catch(() => null);
  return {
    isPaired: key !== null && existsSync(join(config.stateDir, 'ever-paired')),
    isOffered: config.mdns.enabled && config.pairing.policy !== 'locked',
  };
};
