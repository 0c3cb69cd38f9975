/**
 * Whether the `Host` header is a name without a domain, such as `beamer:5000`. Nobody can give out such names in the
 * public DNS, so a page that rebinds its name to this device cannot have one.
 */
export function isSingleLabel(host: string): boolean {
  return /^[a-z0-9_-]+(:\d{1,5})?$/i.test(host);
}

/** Names no address and no name of the device: under rebinding the attacker's page reads also this. */
export const WRONG_HOST = `This device does not show its page under the name in the address bar.
Open it by its address (such as http://192.168.1.20:5000), by its name alone (http://beamer:5000),
or by its name in the home network (http://beamer.local:5000).
A further name can be allowed with ZEROFORCE_ALLOWED_HOSTS.
`;
