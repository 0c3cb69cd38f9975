import t from 'tap';
import { freshKeyLine } from '../support/public-keys.ts';
import { PROGRAM } from '../support/service.ts';
import { CHECK, chain, command, GREETED, load, NEEDS, nft, ONLY, restore, STREAM } from './firewall-machine.ts';
import { ADDRESS, expectCause, expectHealthy, LAN_PEER, machine } from './machine.ts';
import { packets } from './packets.ts';
import { BY_HAND, DOCKER, FIREWALLD, UFW } from './rulesets.ts';
import { sshMachine } from './ssh-machine.ts';

/** Rules that look like it, and let the tunnel through. */
const HARMLESS: readonly (readonly [name: string, rules: string])[] = [
  ['ufw', restore(UFW)],
  ['firewalld', nft(FIREWALLD)],
  ['docker', restore(DOCKER)],
  ['a firewall by hand', nft(BY_HAND)],
  [
    'rules about others: another interface, UDP, IPv6, what is forwarded, other sources, too many at once',
    `iptables -A INPUT -i eth0 -p tcp --dport 22 -j DROP
     iptables -A INPUT -p udp --dport 22 -j DROP; ip6tables -P INPUT DROP
     iptables -P FORWARD DROP; iptables -A FORWARD -p tcp --dport 22 -j DROP
     ipset create bad hash:ip; ipset add bad 10.0.0.1; iptables -A INPUT -m set --match-set bad src -j DROP
     iptables -A INPUT ! -s 127.0.0.0/8 -p tcp --dport 22 -j REJECT
     iptables -A INPUT -p tcp --dport 22 -m connlimit --connlimit-above 20 -j REJECT
     iptables -A INPUT -p tcp --dport 22 -m hashlimit --hashlimit-above 20/sec --hashlimit-name h -j DROP
     iptables -t nat -A PREROUTING -p tcp --dport 22 -j REDIRECT --to-ports 2222`,
  ],
  ['it was accepted before', 'iptables -A INPUT -i lo -j ACCEPT; iptables -A INPUT -p tcp --dport 22 -j DROP'],
  [
    'only what is invalid, a table that sleeps, a chain that nobody jumps to',
    `${chain('input', 'ct state invalid drop\n tcp flags & (fin|syn) == fin|syn drop')}
     nft add table ip s "{ flags dormant; }"; nft add chain ip s c "{ type filter hook input priority 0; policy drop; }"
     nft add chain inet t d; nft add rule inet t d tcp dport 22 drop`,
  ],
];

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

  await t.test('nor without nft; what iptables says all the same counts', async (t) => {
    await load(device, 'iptables -A INPUT -p tcp --dport 23 -j DROP');
    await device.sh('mount --bind /dev/null $(readlink -f /usr/sbin/nft)');
    const { check } = await device.diagnose(ONLY);
    t.match(check(CHECK), { status: 'unknown', summary: /rules of nft could not be read/ });
    await device.sh('iptables -A INPUT -p tcp --dport 22 -j DROP');
    expectCause(t, await device.diagnose(ONLY), CHECK, /--dport 22 -j DROP/);
    await device.sh('umount $(readlink -f /usr/sbin/nft)');
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
  await packets(t, device.inside, [80]);
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
