import t from 'tap';
import { address, networkOf } from '../../src/diagnose/firewall/addresses.ts';
import { type Connection, fateOf } from '../../src/diagnose/firewall/connections.ts';
import { PacketFilter } from '../../src/diagnose/firewall/evaluate.ts';
import { readIpSets } from '../../src/diagnose/firewall/ipset-reader.ts';
import { readIptables } from '../../src/diagnose/firewall/iptables-reader.ts';
import type { Ruleset } from '../../src/diagnose/firewall/model.ts';
import { readNft } from '../../src/diagnose/firewall/nft-reader.ts';
import { readNftText } from '../../src/diagnose/firewall/nft-text.ts';
import { networkAccess, streamAccess } from '../../src/diagnose/firewall/verdicts.ts';
import { permit, remove, ruleOf } from '../../src/diagnose/firewall/words.ts';

// What no kernel can be asked for: what other versions print, what is not understood, and how it is told. What is
// understood is compared with the kernel in firewall-model.test.ts.

const STREAM: Connection = {
  ...{ protocol: 'tcp', client: '127.0.0.77', clientPort: 40_000, server: '127.0.0.1', port: 22 },
  ...{ device: 'lo', outward: true },
};
const HOME = { device: 'eth0', address: '192.168.77.10', prefix: 24 };
const NO_TEXT = readNftText('');

/** A table of nft with one chain at the hook input. */
function nft(rules: readonly object[][], { more = [] as object[], base = {}, text = NO_TEXT } = {}): Ruleset {
  const at = { family: 'inet', table: 't' };
  const hook = { type: 'filter', hook: 'input', prio: 0, policy: 'accept', ...base };
  const objects = [
    { metainfo: { json_schema_version: 1 } },
    { table: { family: 'inet', name: 't' } },
    ...more,
    { chain: { ...at, name: 'c', ...hook } },
    ...rules.map((expr, index) => ({ rule: { ...at, chain: 'c', handle: index + 5, expr } })),
  ];
  return readNft(JSON.stringify({ nftables: objects }), text);
}

const iptables = (rules: string, sets = '') =>
  readIptables(`*filter\n:INPUT ACCEPT [0:0]\n${rules}\nCOMMIT\n`, {
    ...{ tool: 'iptables', family: 'ip', sets: readIpSets(sets) },
  });
const fate = (ruleset: Ruleset, connection = STREAM) => fateOf(connection, new PacketFilter(ruleset)).kind;

const is = (left: object, right: unknown, op = '==') => ({ match: { op, left, right } });
const payload = (protocol: string, field: string) => ({ payload: { protocol, field } });
const DROP = { drop: null };

t.test('nft, as other versions print it', async (t) => {
  const state = { ct: { key: 'state' } };
  t.equal(fate(nft([[is(state, { '|': ['new', 'related'] }, 'in'), DROP]])), 'blocked');
  t.equal(fate(nft([[is(state, ['established', 'related'], 'in'), { accept: null }], [DROP]])), 'blocked');
  const element = (val: unknown) => ({ elem: { val, timeout: 60, expires: 50, counter: { packets: 1, bytes: 2 } } });
  const set = (elem: unknown[]) => [{ set: { family: 'inet', table: 't', name: 's', type: 'ipv4_addr', elem } }];
  const named = [is(payload('ip', 'saddr'), '@s'), DROP];
  t.equal(fate(nft([named], { more: set([element('127.0.0.77')]) })), 'blocked');
  t.equal(fate(nft([named], { more: set([element({ range: ['127.0.0.2', '127.0.0.9'] })]) })), 'passes');
  t.equal(fate(nft([named], { more: set(['*']) })), 'blocked');
  t.equal(fate(nft([[is(payload('tcp', 'dport'), 'ssh'), DROP]])), 'blocked', 'a name in the place of a number');
  t.equal(fate(nft([[DROP]], { base: { prio: 'filter' } })), 'blocked');
  t.equal(fate(nft([[DROP]], { base: { hook: 'ingress', dev: ['eth0', 'lo'] } })), 'blocked');
  t.equal(fate(nft([[DROP]], { base: { hook: 'ingress', dev: 'eth0' } })), 'passes');
  t.equal(fate(nft([[{ last: null }, { 'ct helper': 'ftp' }, DROP]])), 'blocked', 'they ask nothing');
});

t.test('nft, what is not understood makes it unsure and never blocked', async (t) => {
  const unsure = (name: string, ...expr: object[]) => t.equal(fate(nft([expr])), 'unsure', name);
  unsure('another module', { xt: { type: 'match', name: 'time' } }, DROP);
  unsure('an expression of tomorrow', { tomorrow: {} });
  unsure('another program', { queue: { num: 0 } });
  unsure('the hour', is({ meta: { key: 'hour' } }, '08:00', '>'), DROP);
  unsure('a random number', is({ numgen: { mode: 'random', mod: 2 } }, 0), DROP);
  unsure('raw bytes', is({ payload: { base: 'th', offset: 16, len: 16 } }, 22), DROP);
  unsure('who sends', is({ meta: { key: 'skuid' } }, 0), DROP);
  unsure('a set that is not there', is(payload('ip', 'saddr'), '@none'), DROP);
  unsure('a value of tomorrow', is(payload('ip', 'saddr'), { tomorrow: 1 }), DROP);
  unsure('what is not such a value', is(payload('ip', 'saddr'), { tomorrow: 1 }, '!='), DROP);
  unsure('the connection as it was', is({ ct: { key: 'ip daddr', dir: 'original' } }, '1.2.3.4'), DROP);
  unsure('a chain that is not there', { jump: { target: 'none' } });
  unsure('a map that is not there', { vmap: { key: payload('tcp', 'dport'), data: '@none' } });
  unsure('a chain that jumps to itself', { jump: { target: 'c' } });
  unsure('a target that nft cannot show', { xt: { type: 'target', name: 'TARPIT' } });
  t.equal(
    fate(nft([[{ xt: { type: 'match', name: 'comment' } }, { xt: { type: 'target', name: 'REJECT' } }]])),
    'blocked',
  );
  t.equal(fate(nft([[{ xt: { type: 'match', name: 'time' } }, { xt: { type: 'target', name: 'LOG' } }]])), 'passes');
  t.equal(fate(nft([[is({ meta: { key: 'hour' } }, '08:00', '>'), DROP], [DROP]])), 'blocked', 'either way');
  t.equal(
    fate(
      nft([
        [is({ meta: { key: 'hour' } }, '08:00', '>'), { mangle: { key: { meta: { key: 'mark' } }, value: 1 } }],
        [is({ meta: { key: 'mark' } }, 1), DROP],
      ]),
    ),
    'unsure',
    'a mark that may be set',
  );
  t.throws(
    () => readNft('{"nftables": [{"table": {"flags":', NO_TEXT),
    'cut short, as nft 1.0.6 prints a table with flags',
  );
  t.throws(() => readNft('{}', NO_TEXT));
});

t.test('nft, what only its text tells: tables that sleep, devices, the words of a rule', async (t) => {
  const text = readNftText(
    [
      ...['table inet t { # handle 1', '\tflags dormant', '', '\tchain c { # handle 2'],
      ...['\t\ttype filter hook ingress devices = { "eth0", "eth1" } priority filter; policy drop;'],
      ...['\t\ttcp dport 22 counter packets 5 bytes 300 drop # handle 5', '\t}', '}'],
    ].join('\n'),
  );
  t.strictSame([...text.dormant], ['inet t']);
  t.strictSame([...text.devices], [['inet t c', ['eth0', 'eth1']]]);
  t.strictSame([...text.rules], [['inet t c 5', 'tcp dport 22 drop']]);
  t.strictSame(nft([[DROP]], { text }), [], 'a table that sleeps is none');
  const awake = { ...text, dormant: new Set<string>() };
  t.equal(fate(nft([[DROP]], { base: { hook: 'ingress' }, text: awake })), 'passes');
});

t.test('iptables, what is not understood makes it unsure and never blocked', async (t) => {
  const unsure = (rule: string, sets = '') => t.equal(fate(iptables(`-A INPUT ${rule}`, sets)), 'unsure', rule);
  unsure('-m time --timestart 08:00 -j DROP');
  unsure('-m string --algo bm --string "a -j b" -j DROP');
  unsure('-m socket -j DROP');
  unsure('-m mac --mac-source 00:11:22:33:44:55 -j DROP');
  unsure('-m tomorrow ! --at dawn -j DROP');
  unsure('-j NFQUEUE --queue-num 0');
  unsure('-j TOMORROW');
  unsure('-m recent --rcheck --name knocked -j DROP');
  unsure('-m set --match-set none src -j DROP');
  unsure('-m set --match-set s src --return-nomatch -j DROP', 'create s hash:ip\n');
  unsure(
    '-m set --match-set s src -j DROP',
    'create s hash:net\nadd s 127.0.0.0/8\nadd s 127.0.0.77 nomatch\n'.replace('127.0.0.0/8', '10.0.0.0/8'),
  );
  unsure('-m set --match-set s src -j DROP', 'create s hash:mac\nadd s 00:11:22:33:44:55\n');
  unsure('-p tcp -m tcp --tcp-option 2 -j DROP');
  unsure('-s 127.0.0.77/255.0.0.255 -j DROP');
});

t.test('iptables, as it saves its rules', async (t) => {
  const kind = (rules: string, sets = '') => fate(iptables(rules, sets));
  t.equal(kind('[12:840] -A INPUT -p tcp -m tcp --dport 22 -j DROP'), 'blocked', 'with counters');
  t.equal(kind('-A INPUT -m comment --comment "-j ACCEPT \\"x\\"" -j DROP'), 'blocked');
  t.equal(kind('-A INPUT -m rpfilter --invert -j DROP'), 'passes');
  t.equal(
    kind('-A INPUT -m hashlimit --hashlimit-above 5/sec --hashlimit-name x -j DROP'),
    'passes',
    'nobody was there yet',
  );
  t.equal(kind('-A INPUT -m conntrack --ctstate NEW,DNAT -j DROP'), 'unsure');
  t.equal(kind('-A INPUT -m conntrack ! --ctstate DNAT -j DROP'), 'blocked');
  t.equal(kind('-A INPUT -s 127.0.0.1,127.0.0.77 -j DROP'), 'blocked');
  t.equal(
    kind('-A INPUT -m set --match-set p src,dst -j DROP', 'create p hash:ip,port\nadd p 127.0.0.77,tcp:20-25\n'),
    'blocked',
  );
  t.equal(
    kind(
      '-A INPUT -m set --match-set p src -j DROP',
      'create p bitmap:ip range 127.0.0.0-127.0.0.255\nadd p 127.0.0.70-127.0.0.79\n',
    ),
    'blocked',
  );
});

t.test('a stream is open where every port of this side does', async (t) => {
  const access = (rules: string) => {
    const ruleset = iptables(rules);
    return streamAccess('127.0.0.77', 22, ruleset, new PacketFilter(ruleset)).kind;
  };
  t.equal(access(''), 'open');
  t.equal(access('-A INPUT -p tcp --sport 50000:65535 -j DROP'), 'some');
  t.equal(access('-A INPUT -p tcp --sport 1024:65535 -j DROP'), 'blocked');
});

t.test('the home network is closed where nobody of it comes in', async (t) => {
  const access = (
    rules: string,
    home = HOME,
    service: Parameters<typeof networkAccess>[1] = { protocol: 'tcp', port: 8007 },
  ) => {
    const ruleset = iptables(rules);
    return networkAccess(home, service, ruleset, new PacketFilter(ruleset)).kind;
  };
  t.equal(access('-A INPUT -p tcp --dport 8007 -j DROP'), 'blocked');
  t.equal(access('-A INPUT -s 192.168.77.200 -j ACCEPT\n-A INPUT -j DROP'), 'open', 'but for one');
  t.equal(access('-A INPUT -s 192.168.77.10 -j ACCEPT\n-A INPUT -j DROP'), 'blocked', 'but for itself');
  t.equal(access('-A INPUT -s 192.168.77.255 -j ACCEPT\n-A INPUT -j DROP'), 'blocked', 'but for nobody');
  t.equal(access('-A INPUT ! -s 192.168.77.0/24 -j DROP'), 'open');
  t.equal(access('-A INPUT -i wlan0 -j ACCEPT\n-A INPUT -j DROP'), 'blocked');
  t.equal(access('-A INPUT -m mac --mac-source 00:11:22:33:44:55 -j ACCEPT\n-A INPUT -j DROP'), 'unsure');
  t.equal(access(':OUTPUT DROP [0:0]\n-A OUTPUT -d 192.168.77.200 -j ACCEPT'), 'open', 'the answers, too');
  t.equal(access(':OUTPUT DROP [0:0]\n-A OUTPUT -d 192.168.78.0/24 -j ACCEPT'), 'blocked');
  const many = Array.from({ length: 200 }, (_, index) => `-A INPUT -s 10.0.0.${index} -p udp -j DROP`).join('\n');
  t.equal(access(`${many}\n-A INPUT -j DROP`, { device: 'eth0', address: '10.0.0.250', prefix: 8 }), 'blocked');
  const more = Array.from({ length: 300 }, (_, index) => `-A INPUT -s 10.${index % 9}.${index % 251}.7 -p udp -j DROP`);
  const large = { device: 'eth0', address: '10.250.0.1', prefix: 8 };
  t.equal(access(`${more.join('\n')}\n-A INPUT -j DROP`, large), 'some', 'too many kinds to try all');
  t.equal(access('-A INPUT -j DROP', { device: 'eth0', address: '10.0.0.0', prefix: 31 }), 'blocked');
  t.equal(access('-A INPUT -p udp -m udp --dport 5353 -j DROP', HOME, 'mdns'), 'blocked');
  t.equal(access('-A INPUT -d 224.0.0.251/32 -p udp -j ACCEPT\n-A INPUT -j DROP', HOME, 'mdns'), 'open');
});

t.test('a connection to elsewhere meets what leaves, and what comes back', async (t) => {
  const out: Connection = {
    ...{ protocol: 'tcp', client: '192.168.77.10', clientPort: 40_000, server: '203.0.113.7', port: 9001 },
    ...{ device: 'eth0', outward: true },
  };
  const blocked = (rules: string) => fate(iptables(rules), out);
  t.equal(blocked(':OUTPUT DROP [0:0]\n-A OUTPUT -p tcp --dport 443 -j ACCEPT'), 'blocked');
  t.equal(blocked('-A INPUT -j DROP'), 'blocked');
  t.equal(blocked('-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\n-A INPUT -j DROP'), 'passes');
  t.equal(
    fate(iptables('-A INPUT -i wlan0 -j DROP'), { ...out, client: '', device: '' }),
    'unsure',
    'by which device is not known',
  );
});

t.test('what to type is in the language of whoever made the rule', async (t) => {
  const typed = (ruleset: Ruleset, connection: Connection) => {
    const found = fateOf(connection, new PacketFilter(ruleset));
    if (found.kind !== 'blocked') throw new Error(found.kind);
    return [permit(found.by, connection, found.packet, ruleset), remove(found.by), ruleOf(found.by)];
  };
  const client: Connection = {
    ...STREAM,
    client: '192.168.77.1',
    server: '192.168.77.10',
    port: 8007,
    device: 'eth0',
    outward: false,
  };
  t.strictSame(typed(iptables('-A INPUT -p tcp -m tcp --dport 8007 -j DROP'), client), [
    'iptables -I INPUT -i eth0 -p tcp --dport 8007 -j ACCEPT',
    'iptables -t filter -D INPUT -p tcp -m tcp --dport 8007 -j DROP',
    'chain INPUT of table ip filter: -A INPUT -p tcp -m tcp --dport 8007 -j DROP',
  ]);
  t.strictSame(
    typed(iptables(':OUTPUT DROP [0:0]'), client)[0],
    'iptables -I OUTPUT -o eth0 -p tcp --sport 8007 -j ACCEPT',
  );
  t.strictSame(typed(nft([[is(payload('tcp', 'dport'), 22), DROP]]), STREAM).slice(0, 2), [
    'nft insert rule inet t c iifname lo accept',
    'nft delete rule inet t c handle 5',
  ]);
  t.equal(
    typed(nft([[is(payload('tcp', 'dport'), 8007), DROP]]), client)[0],
    'nft insert rule inet t c iifname eth0 tcp dport 8007 accept',
  );
});

t.test('addresses are read as numbers', async (t) => {
  t.equal(address('127.0.0.1'), 0x7f000001n);
  t.equal(address('::1'), 1n);
  t.equal(address('fe80::1:2'), 0xfe80_0000_0000_0000_0000_0000_0001_0002n);
  t.equal(address('::ffff:1.2.3.4'), 0xffff_0102_0304n);
  for (const wrong of [
    '',
    '1.2.3',
    '1.2.3.256',
    '1.2.3.4.5',
    ':::',
    '1::2::3',
    'g::',
    '1:2:3:4:5:6:7:8:9',
    'localhost',
  ]) {
    t.equal(address(wrong), null, wrong);
  }
  t.strictSame(networkOf('10.1.2.3/8'), [0x0a000000n, 0x0affffffn]);
  t.strictSame(networkOf('10.0.0.0/255.255.0.0'), [0x0a000000n, 0x0a00ffffn]);
  t.strictSame(networkOf('0.0.0.0/0'), [0n, 0xffffffffn]);
  for (const wrong of ['10.0.0.0/33', '10.0.0.0/255.0.255.0', '10.0.0.0/x', 'x/8'])
    t.equal(networkOf(wrong), null, wrong);
});
