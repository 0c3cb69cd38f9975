/**
 * The name of an address: null where it surely has none that libwrap takes, undefined where somebody else may know one.
 */
export type HostNames = (address: string) => string | null | undefined;

/**
 * What /etc/hosts says of addresses. libwrap looks a name up again, and takes only one that leads back to the address.
 * For an address of the loopback nobody but this file has such a name. Pure.
 */
export function hostNames(hosts: string): HostNames {
  const lines = hosts.split('\n').map((line) => line.replace(/#.*/, '').trim().split(/\s+/));
  return (address) => {
    const [, name] = lines.find(([first]) => first === address) ?? [];
    const [back] = lines.find(([first, ...names]) => first?.includes('.') && names.includes(name ?? '')) ?? [];
    if (name !== undefined && back === address) return name;
    return address.startsWith('127.') ? null : undefined;
  };
}
