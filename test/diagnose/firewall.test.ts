import t from 'tap';
import { freshKeyLine } from '../support/public-keys.ts';
import { requires } from '../support/requires.ts';
import { PROGRAM } from '../support/service.ts';
import { ADDRESS, expectCause, expectHealthy, LAN_PEER, type Machine, machine, NEEDS_MACHINE } from './machine.ts';
import { packets } from './packets.ts';
import { BY_HAND, DOCKER, FIREWALLD, UFW } from './rulesets.ts';
import { sshMachine } from './ssh-machine.ts';

const NEEDS = requires(...NEEDS_MACHINE, 'nft', 'iptables', 'iptables-legacy', 'ipset');
const CHECK = 'firewall.inbound';
const ONLY = ['--only', CHECK];
const STREAM = { client: '127.0.0.1', clientPort: 0, server: '127.0.0.1', port: 22 };
const GREETED = /^greeted by SSH-2\.0/;
/** The old tables are made by looking at them. */
const FLUSH = `nft flush ruleset; ipset list -n | xargs -rn1 ipset destroy
if [ -s /proc/net/ip_tables_names ]; then iptables-legacy -P INPUT ACCEPT; iptables-legacy -F; fi`;

/** `nft -f` of a whole ruleset. */
const nft = (rules: string) => `nft -f - <<'END'\n${rules}\nEND`;
const restore = (rules: string) => `iptables-nft-restore <<'END'\n${rules}\nEND`;
/** An inet table with one chain. */
const chain = (hook: string, rules: string, policy = 'accept') =>
  nft(`table inet t {\n chain c { type filter hook ${hook} priority 0; policy ${policy};\n ${rules}\n }\n}`);

/** What the remedy says to type. */
const command = (remedy: string | null) => /: (\S.*?)(?:; (?:and|or)|$)/.exec(remedy ?? '')?.[1] ?? 'false';

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

/** Rules that look like it, and let the tunnel through. */
const HARMLESS: readonly (readonly [name: string, rules: string])[] = [
  ['ufw', restore(UFW)],
  ['firewalld', nft(FIREWALLD)],
  ['docker', restore(DOCKER)],
  ['a firewall by hand', nft(BY_HAND)],
  ['the port is closed on another interface', 'iptables -A INPUT -i eth0 -p tcp --dport 22 -j DROP'],
  ['the port of UDP is closed', 'iptables -A INPUT -p udp --dport 22 -j DROP; ip6tables -P INPUT DROP'],
  ['nothing is forwarded', 'iptables -P FORWARD DROP; iptables -A FORWARD -p tcp --dport 22 -j DROP'],
  ['it was accepted before', 'iptables -A INPUT -i lo -j ACCEPT; iptables -A INPUT -p tcp --dport 22 -j DROP'],
  [
    'other sources are shut out',
    'ipset create bad hash:ip; ipset add bad 10.0.0.1; iptables -A INPUT -m set --match-set bad src -j DROP; iptables -A INPUT ! -s 127.0.0.0/8 -p tcp --dport 22 -j REJECT',
  ],
  [
    'too many at once are shut out',
    'iptables -A INPUT -p tcp --dport 22 -m connlimit --connlimit-above 20 -j REJECT; iptables -A INPUT -p tcp --dport 22 -m hashlimit --hashlimit-above 20/sec --hashlimit-mode srcip --hashlimit-name h -j DROP',
  ],
  ['only what is invalid is dropped', chain('input', 'ct state invalid drop\n tcp flags & (fin|syn) == fin|syn drop')],
  [
    'a table that sleeps',
    'nft add table ip t "{ flags dormant; }"; nft add chain ip t c "{ type filter hook input priority 0; policy drop; }"',
  ],
  [
    'a chain that nobody jumps to',
    nft('table inet t { chain c { type filter hook input priority 0; }; chain d { tcp dport 22 drop; }; }'),
  ],
  [
    'a redirection for those from outside',
    'iptables -t nat -A PREROUTING -p tcp --dport 22 -j REDIRECT --to-ports 2222',
  ],
];

async function load(device: Machine, rules: string): Promise<void> {
  await device.sh(`${FLUSH}\n${rules}`);
}

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

t.test('rules that look like it and let the tunnel through', NEEDS, async (t) => {
  const device = await sshMachine(t);
  await device.sshd();
  const attempt = await packets(t, device.inside, []);
  for (const [name, rules] of HARMLESS) {
    await t.test(name, async (t) => {
      await load(device, rules);
      t.match(await attempt(STREAM, 10_000), GREETED, 'it is so');
      const found = await device.diagnose(ONLY);
      expectHealthy(t, found);
      t.match(found.check(CHECK).status, 'ok');
    });
  }
});

t.test('what cannot be decided is not known, and not told as blocked', NEEDS, async (t) => {
  const device = await sshMachine(t);
  await device.sshd();
  const unknown = async (rules: string, evidence: RegExp) => {
    await load(device, rules);
    const { check, report } = await device.diagnose(ONLY);
    t.equal(report.cause, null);
    t.equal(check(CHECK).status, 'unknown');
    t.match(check(CHECK).summary, evidence);
  };
  await unknown(
    'iptables -A INPUT -p tcp --dport 22 -m time --timestart 00:00 --timestop 23:59 -j DROP',
    /it depends on chain INPUT of table ip filter: .*-m time/,
  );
  await unknown('iptables -A INPUT -p tcp --dport 22 -m recent --rcheck --name knocked -j DROP', /--rcheck/);
  await unknown(chain('input', 'tcp sport 33000-65535 drop'), /tcp sport 33000-65535 drop/);
  await unknown(chain('output', 'meta skuid 0 tcp dport 22 drop'), /meta skuid 0/);

  await t.test('and neither is anything without root', async (t) => {
    await load(device, 'true');
    const { stdout } = await device.sh(
      'chmod 755 /root; su nobody -s /bin/sh -c "tunnel-agent diagnose --json --only firewall.inbound" || true'.replace(
        'tunnel-agent',
        PROGRAM,
      ),
    );
    const { checks } = JSON.parse(stdout) as { checks: { id: string; status: string; remedy: string }[] };
    t.match(
      checks.find(({ id }) => id === CHECK),
      { status: 'unknown', remedy: /sudo tunnel-agent diagnose/ },
    );
  });

  await t.test('nor without the program for rules that are there', async (t) => {
    await load(device, 'iptables-legacy -P INPUT ACCEPT');
    await device.sh(
      'for each in iptables-legacy iptables; do mount --bind /bin/false $(readlink -f /usr/sbin/$each); done',
    );
    const { check } = await device.diagnose(ONLY);
    t.match(check(CHECK), { status: 'unknown', summary: /rules of iptables-legacy \(filter\)/ });
  });
});

t.test('streams of the Meeting tunnel have an address of their own', NEEDS, async (t) => {
  const device = await machine(t);
  await device.configure({
    meeting: { deviceKey: 'a'.repeat(32), token: 'abcdef', proxy: { host: '127.0.0.1', port: 9 } },
    services: { ssh: 22, http: 80 },
    mdns: { enabled: false },
  });
  await device.sshd();
  await load(device, chain('input', 'ip saddr 127.0.0.77 tcp dport 22 drop'));
  expectCause(t, await device.diagnose(ONLY), CHECK, /ip saddr 127\.0\.0\.77/);
  await load(device, chain('input', 'ip saddr 127.0.0.1 tcp dport 22 drop'));
  expectHealthy(t, await device.diagnose(ONLY));
  await load(device, chain('input', 'tcp dport 80 drop'));
  const { check } = await device.diagnose(ONLY);
  t.match(check(CHECK), { status: 'warn', summary: /for the service http, port 80/ });
});

t.test('the home network', NEEDS, async (t) => {
  const device = await machine(t);
  const closed =
    'iptables -P INPUT DROP; iptables -A INPUT -i lo -j ACCEPT; iptables -A INPUT -p tcp --dport 22 -j ACCEPT';
  await device.configure({ transport: 'none' });
  await device.sshd();
  const attempt = await packets(t, device.inLan, []);
  await packets(t, device.inside, [8007]);
  const toTunnel = { client: LAN_PEER, clientPort: 0, server: ADDRESS, port: 8007 };

  await t.test('a device that offers to be paired, and lets nobody in', async (t) => {
    await load(device, closed);
    const { check } = await device.diagnose(ONLY);
    t.match(check(CHECK), { status: 'warn', summary: /offers to be paired.* port 5000.*policy drop/ });
    await device.sh(command(check(CHECK).remedy));
    t.match((await device.diagnose(ONLY)).check(CHECK).summary, /UDP port 5353|port 8007/);
  });

  await t.test('a paired device whose client is shut out', async (t) => {
    await load(device, closed);
    await device.write('/root/.ssh/authorized_keys', `${freshKeyLine()}\n`, 0o600);
    await device.write('/var/lib/zeroforce/ever-paired', '');
    t.equal(await attempt(toTunnel, 200), 'silence');
    const found = await device.diagnose(ONLY);
    expectCause(t, found, CHECK, /drops every connection from the home network to port 8007.*policy drop/);
    await device.sh(command(found.check(CHECK).remedy));
    t.equal(await attempt(toTunnel, 10_000), 'greeted by 8007');
  });

  await t.test('only one machine of it may come in, or only some are shut out', async (t) => {
    await load(device, `${closed}; iptables -A INPUT -s 192.168.77.200 -p tcp --dport 8007 -j ACCEPT`);
    t.not((await device.diagnose(ONLY)).report.cause, CHECK);
    await load(device, chain('input', 'ip saddr 192.168.77.0/25 tcp dport 8007 drop'));
    expectHealthy(t, await device.diagnose(ONLY));
  });

  await t.test('ufw and firewalld are told in their own words', async (t) => {
    await load(device, restore(UFW.replace('5000,8007', '5000')));
    t.match((await device.diagnose(ONLY)).check(CHECK).remedy, /: ufw allow 8007\/tcp/);
    await load(device, nft(FIREWALLD.replace('5000, 8007', '5000')));
    t.match(
      (await device.diagnose(ONLY)).check(CHECK).remedy,
      /: firewall-cmd --permanent --add-port=8007\/tcp && firewall-cmd --reload/,
    );
  });

  await t.test('the questions of mDNS are dropped', async (t) => {
    await load(device, chain('input', 'udp dport 5353 drop'));
    const { check } = await device.diagnose(ONLY);
    t.match(check(CHECK), { status: 'warn', summary: /questions of mDNS.*udp dport 5353 drop/ });
  });

  await t.test('nobody is paired, and nobody is invited', async (t) => {
    await device.sh('rm /root/.ssh/authorized_keys');
    await device.configure({ transport: 'none', mdns: { enabled: false } });
    await load(device, closed);
    const found = await device.diagnose(ONLY);
    expectHealthy(t, found);
    t.match(found.check(CHECK).summary, /8007 and 5000 are closed to the home network/);
  });
});
