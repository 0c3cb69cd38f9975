import { type Connection, isAnswer, type PacketName } from './connections.ts';
import type { Chain, Decision, Ruleset } from './model.ts';

// A decision in the words of whoever knows the firewall, and what to type against it.

const MAX_RULE_CHARACTERS = 300;

/** `chain INPUT of table ip filter`. */
export function placeOf({ family, table, name, tool }: Chain): string {
  return `chain ${name} of table ${family} ${table}${tool === 'iptables-legacy' ? ' (iptables-legacy)' : ''}`;
}

/** `table ip filter, chain INPUT: -A INPUT -p tcp -j DROP`, or its policy. */
export function ruleOf({ chain, rule, verdict }: Decision): string {
  const text = rule?.text ?? `policy ${verdict.kind}`;
  return `${placeOf(chain)}: ${text.slice(0, MAX_RULE_CHARACTERS)}`;
}

/** `tcp from 127.0.0.77 to 127.0.0.1 port 22`. */
export function nameOf({ protocol, client, server, port }: Connection): string {
  return `${protocol} from ${client === '' ? 'this device' : client} to ${server} port ${port}`;
}

const STANDARD_TABLES = ['filter', 'mangle', 'nat', 'raw', 'security'];

/** The rule that lets the packet through before the one that decided comes, in the language of whoever made it. */
export function permit(decision: Decision, connection: Connection, packet: PacketName, ruleset: Ruleset): string {
  const { base, chain } = decision;
  const { device, port, protocol } = connection;
  const local = device === 'lo';
  if (!local && chain.table === 'firewalld') {
    return `firewall-cmd --permanent --add-port=${port}/${protocol} && firewall-cmd --reload`;
  }
  if (!local && base.table === 'filter' && ruleset.some(({ name }) => name === 'ufw-user-input')) {
    return `ufw allow ${port}/${protocol}`;
  }
  const leaves = base.base?.hook === 'output' || base.base?.hook === 'postrouting';
  const end = isAnswer(packet) ? 'sport' : 'dport';
  if (isIptables(base)) {
    const program = base.tool === 'iptables-legacy' ? 'iptables-legacy' : 'iptables';
    const table = base.table === 'filter' ? '' : ` -t ${base.table}`;
    const ports = local ? '' : ` -p ${protocol} --${end} ${port}`;
    const way = device === '' ? '' : `${leaves ? ' -o' : ' -i'} ${device}`;
    return `${program}${table} -I ${base.name}${way}${ports} -j ACCEPT`;
  }
  const ports = local ? '' : ` ${protocol} ${end} ${port}`;
  const at = base.family === 'netdev' || device === '' ? '' : ` ${leaves ? 'oifname' : 'iifname'} ${device}`;
  return `nft insert rule ${base.family} ${base.table} ${base.name}${at}${ports} accept`;
}

/** Takes away the rule that decided. */
export function remove({ chain, rule }: Decision): string {
  if (chain.tool !== 'nft' && rule !== null) {
    return `${chain.tool} -t ${chain.table} ${rule.text.replace(/^-A/, '-D')}`;
  }
  return `nft delete rule ${chain.family} ${chain.table} ${chain.name} handle ${rule?.handle ?? 'N'}`;
}

/** Whether iptables has made a chain: nft shows its tables as well. */
export function isIptables({ tool, family, table, name }: Chain): boolean {
  if (tool !== 'nft') return true;
  return family === 'ip' && STANDARD_TABLES.includes(table) && /^[A-Z]+$/.test(name);
}
