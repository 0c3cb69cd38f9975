import { networkInterfaces } from 'node:os';

/** Every address of this machine at this moment, IPv6 without brackets and zone. */
export function ownAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((addresses) => (addresses ?? []).map(({ address }) => address));
}

/**
 * Whether a web page of this origin may pair (pairing: requests 4). Only its host counts: an address of the device,
 * localhost, a name under .local, or a configured host. The Host header proves nothing: under DNS rebinding it names
 * the attacker's page just as Origin does.
 *
 * @param origin the header as it came; `null`, an empty or a malformed one is never trusted
 * @param hosts names and addresses, in any case; IPv6 without brackets
 */
export function isTrustedOrigin(origin: string, hosts: readonly string[]): boolean {
  const host = hostOf(origin);
  if (host === null) return false;
  if (host === 'localhost' || /[^.]\.local$/.test(host)) return true;
  return hosts.some((trusted) => hostOf(`http://${trusted.includes(':') ? `[${trusted}]` : trusted}`) === host);
}

/** The host of `scheme://host[:port]`, in the one form that URL gives it; null for anything else. */
function hostOf(origin: string): string | null {
  if (!/^https?:\/\/[^\s/?#@\\,]+$/i.test(origin)) return null;
  try {
    return new URL(withoutZone(origin)).hostname.replace(/\.$/, '');
  } catch {
    return null;
  }
}

/** `[fe80::1%eth0]` → `[fe80::1]`: the zone says through which interface, not whose address. */
function withoutZone(origin: string): string {
  return origin.replace(/%[^\]]*\]/, ']');
}
