import t from 'tap';
import { CHECK, chain, command, GREETED, load, NEEDS, nft, ONLY, STREAM } from './firewall-machine.ts';
import { expectCause, expectHealthy } from './machine.ts';
import { packets } from './packets.ts';
import { sshMachine } from './ssh-machine.ts';

/** Rules that keep the tunnel from sshd, by which program, and what of them the evidence names. */
const BLOCKING: readonly (readonly [name: string, rules: string, meaning: RegExp, typed: RegExp])[] = [
  [
    'iptables: the policy of INPUT, without the loopback',
    'iptables -P INPUT DROP; iptables -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; iptables -A INPUT -i eth0 -p tcp --dport 22 -j ACCEPT',
    /drops .* port 22, by chain INPUT of table ip filter: policy drop/,
    /^iptables -I INPUT -i lo -j ACCEPT$/,
  ],
  [
    'iptables: several ports, in a chain of their own, for some sources',
    'iptables -N mine; iptables -A INPUT -s 127.0.0.0/8 -j mine; iptables -A mine -p tcp -m multiport --dports 21:25,80 -j REJECT --reject-with tcp-reset',
    /rejects .* by chain mine of table ip filter: -A mine .*--dports 21:25,80 -j REJECT/,
    /^iptables -I INPUT -i lo -j ACCEPT$/,
  ],
  [
    'iptables: a set of addresses',
    'ipset create closed hash:net; ipset add closed 127.0.0.0/24; iptables -A INPUT -m set --match-set closed src -j DROP',
    /-A INPUT -m set --match-set closed src -j DROP/,
    /^iptables -I INPUT/,
  ],
  [
    'fail2ban has banned the address of the tunnel',
    'iptables -N f2b-sshd; iptables -A f2b-sshd -s 127.0.0.1/32 -j REJECT; iptables -A f2b-sshd -j RETURN; iptables -I INPUT -p tcp -m multiport --dports 22 -j f2b-sshd',
    /rejects .* by chain f2b-sshd of table ip filter: -A f2b-sshd -s 127\.0\.0\.1\/32 -j REJECT/,
    /^iptables -I INPUT -i lo -j ACCEPT$/,
  ],
  [
    'iptables: the policy of OUTPUT',
    'iptables -P OUTPUT DROP; iptables -A OUTPUT -o eth0 -j ACCEPT; iptables -A OUTPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT',
    /chain OUTPUT of table ip filter: policy drop/,
    /^iptables -I OUTPUT -o lo -j ACCEPT$/,
  ],
  [
    'iptables: only the answers',
    'iptables -A OUTPUT -p tcp --sport 22 -j DROP',
    /chain OUTPUT of table ip filter: -A OUTPUT .*--sport 22/,
    /^iptables -I OUTPUT -o lo -j ACCEPT$/,
  ],
  [
    'iptables: before the chain that accepts',
    'iptables -A INPUT -i lo -j ACCEPT; iptables -t raw -A PREROUTING -i lo -p tcp --dport 22 -j DROP',
    /chain PREROUTING of table ip raw/,
    /^iptables -t raw -I PREROUTING -i lo -j ACCEPT$/,
  ],
  [
    'iptables of the old kind, which nft does not see',
    'iptables-legacy -A INPUT -p tcp --dport 22 -j DROP',
    /chain INPUT of table ip filter \(iptables-legacy\): -A INPUT/,
    /^iptables-legacy -I INPUT -i lo -j ACCEPT$/,
  ],
  [
    'nft: a policy, and a map of verdicts',
    chain('input', 'ct state established,related accept\n tcp dport vmap { 80 : accept, 8007 : accept }', 'drop'),
    /chain c of table inet t: policy drop/,
    /^nft insert rule inet t c iifname lo accept$/,
  ],
  [
    'nft: a set with intervals',
    nft(
      'table ip t { set s { type ipv4_addr . inet_service; flags interval; elements = { 127.0.0.0/8 . 20-30 } }; chain c { type filter hook input priority 5; ip saddr . tcp dport @s reject; }; }',
    ),
    /rejects .* chain c of table ip t: ip saddr \. tcp dport @s reject/,
    /^nft insert rule ip t c iifname lo accept$/,
  ],
  [
    'nft: ranges, and what is not',
    chain('input', 'tcp dport != 80-65535 ip daddr 127.0.0.0-127.255.255.255 iifname != "eth*" drop'),
    /tcp dport != 80-65535 .* drop/,
    /^nft insert rule/,
  ],
  [
    'nft: accepted by one chain, dropped by a later one',
    nft(
      'table inet a { chain c { type filter hook input priority 0; accept; }; }\ntable inet b { chain c { type filter hook input priority 10; goto d; }; chain d { ct state new tcp flags syn drop; }; }'.replace(
        'table inet b {',
        'table inet b { chain d { }; ',
      ),
    ),
    /chain d of table inet b: ct state new/,
    /^nft insert rule inet b c iifname lo accept$/,
  ],
  [
    'nft: at the device, before anything else',
    nft('table netdev t { chain c { type filter hook ingress device lo priority 0; tcp dport 22 drop; }; }'),
    /chain c of table netdev t: tcp dport 22 drop/,
    /^nft insert rule netdev t c accept$/,
  ],
  [
    'nft: a mark that another chain has set',
    nft(
      'table inet t { chain o { type filter hook output priority 0; tcp dport 22 meta mark set 0x7; }; chain c { type filter hook input priority 0; meta mark & 0xf == 0x7 drop; }; }',
    ),
    /meta mark & 0x0000000f == 0x00000007 drop/,
    /^nft insert rule inet t c iifname lo accept$/,
  ],
];

t.test('rules that keep out what comes through the tunnel, by any program', NEEDS, async (t) => {
  const device = await sshMachine(t);
  await device.sshd();
  const attempt = await packets(t, device.inside, []);
  for (const [name, rules, meaning, typed] of BLOCKING) {
    await t.test(name, async (t) => {
      await load(device, rules);
      t.notMatch(await attempt(STREAM, 100), GREETED, 'it is so');
      const found = await device.diagnose(ONLY);
      expectCause(t, found, CHECK, meaning);
      const remedy = command(found.check(CHECK).remedy);
      t.match(remedy, typed);
      await device.sh(remedy);
      t.match(await attempt(STREAM, 10_000), GREETED, 'typed, it is gone');
    });
  }

  await t.test('to another port, where nobody listens', async (t) => {
    await load(device, 'iptables -t nat -A OUTPUT -p tcp --dport 22 -j REDIRECT --to-ports 2222');
    t.equal(await attempt(STREAM, 1_000), 'ECONNREFUSED');
    const found = await device.diagnose();
    expectCause(t, found, CHECK, /leads what comes through the tunnel for port 22 to port 2222/);
    await device.sh(command(found.check(CHECK).remedy));
    expectHealthy(t, await device.diagnose());
  });

  await t.test('nothing else fails for a reason of its own', async (t) => {
    await load(device, 'iptables -A INPUT -p tcp --dport 22 -j DROP');
    expectCause(t, await device.diagnose(), CHECK, /--dport 22 -j DROP/);
    await load(device, chain('input', 'tcp dport 22 reject'));
    expectCause(t, await device.diagnose(), CHECK, /tcp dport 22 reject/);
    await load(device, 'true');
    expectHealthy(t, await device.diagnose());
  });
});
