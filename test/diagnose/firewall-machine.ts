import { requires } from '../support/requires.ts';
import { type Machine, NEEDS_MACHINE } from './machine.ts';

// Firewalls in a machine.

export const NEEDS = requires(...NEEDS_MACHINE, 'nft', 'iptables', 'iptables-legacy', 'ipset');
export const CHECK = 'firewall.inbound';
export const ONLY = ['--only', CHECK];
export const STREAM = { client: '127.0.0.1', clientPort: 0, server: '127.0.0.1', port: 22 };
export const GREETED = /^greeted by SSH-2\.0/;
/** The old tables are made by looking at them. */
export const FLUSH = `nft flush ruleset; ipset list -n | xargs -rn1 ipset destroy
if [ -s /proc/net/ip_tables_names ]; then iptables-legacy -P INPUT ACCEPT; iptables-legacy -F; fi`;

/** `nft -f` of a whole ruleset. */
export const nft = (rules: string) => `nft -f - <<'END'\n${rules}\nEND`;
export const restore = (rules: string) => `iptables-nft-restore <<'END'\n${rules}\nEND`;
/** An inet table with one chain. */
export const chain = (hook: string, rules: string, policy = 'accept') =>
  nft(`table inet t {\n chain c { type filter hook ${hook} priority 0; policy ${policy};\n ${rules}\n }\n}`);

/** What the remedy says to type. */
export const command = (remedy: string | null) => /: (\S.*?)(?:; (?:and|or)|$)/.exec(remedy ?? '')?.[1] ?? 'false';

/** Instead of all rules that there are. */
export async function load(device: Machine, rules: string): Promise<void> {
  await device.sh(`${FLUSH}\n${rules}`);
}
