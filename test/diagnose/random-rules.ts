// Random rulesets, about the few packets that a test sends: most rules match now and then.

export type Random = () => number;

/** Mulberry32: small, and the same everywhere. */
export function seeded(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

const pick = <T>(random: Random, list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
const some = <T>(random: Random, list: readonly T[]): T[] => {
  const chosen = list.filter(() => random() < 0.4);
  return chosen.length > 0 ? chosen : [pick(random, list)];
};
const chance = (random: Random, share: number) => random() < share;

const ADDRESSES = ['127.0.0.77', '127.0.0.1', '192.168.77.1', '192.168.77.10', '10.1.2.3'];
const NETWORKS = ['127.0.0.0/8', '127.0.0.64/26', '192.168.77.0/24', '192.168.77.0/30', '0.0.0.0/0', '10.0.0.0/8'];
const SPANS = ['127.0.0.2-127.0.0.99', '192.168.77.1-192.168.77.9', '10.0.0.1-10.0.0.9'];

export interface World {
  /** Ports that are listened on. */
  ports: readonly number[];
}

/** A ruleset for `nft -f`. */
export function nftRules(random: Random, { ports }: World): string {
  const port = () => String(pick(random, [...ports, 443]));
  const around = () => {
    const low = Number(port());
    return pick(random, [`${low - 1}-${low + 1}`, `${low + 1}-65535`, `1-${low}`, `${low}-${low}`]);
  };
  const address = () => pick(random, [...ADDRESSES, ...NETWORKS, ...SPANS]);
  const equals = () => pick(random, ['', '', '== ', '!= ']);
  const oneOf = (list: string[]) => `${pick(random, ['', '', '!= '])}{ ${list.join(', ')} }`;
  const condition = (): string => {
    switch (Math.floor(random() * 24)) {
      case 0:
      case 1:
        return `tcp dport ${equals()}${chance(random, 0.5) ? port() : around()}`;
      case 2:
        return `tcp dport ${oneOf(some(random, [...ports, 443].map(String)))}`;
      case 3:
        return `tcp sport ${equals()}${chance(random, 0.5) ? port() : '1024-65535'}`;
      case 4:
      case 5:
        return `ip saddr ${equals()}${address()}`;
      case 6:
        return `ip daddr ${equals()}${address()}`;
      case 7:
        return `ip saddr ${oneOf(some(random, ADDRESSES))}`;
      case 8:
        return `iifname ${equals()}${pick(random, ['"lo"', '"eth0"', '"eth*"', '"wl*"'])}`;
      case 9:
        return `oifname ${equals()}${pick(random, ['"lo"', '"eth0"', '"e*"'])}`;
      case 10:
        return `iifname { ${some(random, ['"lo"', '"eth*"', '"wlan0"']).join(', ')} }`;
      case 11:
        return `ct state ${some(random, ['new', 'established', 'related', 'invalid', 'untracked']).join(',')}`;
      case 12:
        return `ct state ${pick(random, ['!= new', '== established', '!= established', '! new', '{ new, invalid }'])}`;
      case 13:
        return `tcp flags ${pick(random, ['syn', '& (syn|ack) == syn', '!= syn', 'syn,ack', '== syn|ack', '& (fin|syn|rst|ack) != syn', '{ syn, ack }', '! ack'])}`;
      case 14:
        return `meta l4proto ${pick(random, ['tcp', 'udp', '{ tcp, udp }', '!= tcp', '6'])}`;
      case 15:
        return `ip saddr . tcp dport ${pick(random, ['', '!= '])}{ ${ADDRESSES[0]} . ${port()}, 192.168.77.0/24 . ${around()} }`;
      case 16:
        return pick(random, [
          'ip saddr @hosts',
          'ip saddr != @hosts',
          'tcp dport @ports',
          'ip saddr . tcp dport @pairs',
        ]);
      case 17:
        return `meta mark ${pick(random, ['0x1', '!= 0x1', '& 0x3 == 0x1', '0x0', '> 0'])}`;
      case 18:
        return `fib ${pick(random, ['daddr', 'saddr'])} type ${pick(random, ['local', '!= local', 'unicast', '{ local, multicast }'])}`;
      case 19:
        return pick(random, [
          'ip protocol tcp',
          'meta protocol ip',
          'meta nfproto ipv4',
          'ip6 saddr ::1',
          'udp dport 22',
          'icmp type echo-request',
        ]);
      case 20:
        return pick(random, [
          'meta pkttype host',
          'ct direction original',
          'ct direction reply',
          'ct status dnat',
          'ct mark 0x2',
          'ct mark != 0x2',
        ]);
      case 21:
        return `th dport ${pick(random, ['>', '<', '>=', '<='])} ${port()}`;
      case 22:
        return pick(random, [
          'limit rate 100000/second burst 1000 packets',
          'limit rate over 100000/second burst 1000 packets',
          'ct count over 100',
          'counter',
          'log',
        ]);
      default:
        return pick(random, [
          'ip saddr & 0.0.0.255 == 0.0.0.77',
          'ip daddr & 255.0.0.0 == 127.0.0.0',
          'ip frag-off & 0x1fff != 0',
          'iif lo',
          'iif != lo',
        ]);
    }
  };
  const verdict = (chains: readonly string[]): string => {
    const target = () =>
      chains.length > 0 ? `${pick(random, ['jump', 'jump', 'goto'])} ${pick(random, chains)}` : 'drop';
    const plain = () => pick(random, ['accept', 'accept', 'drop', 'reject', 'return', 'continue', target()]);
    switch (Math.floor(random() * 14)) {
      case 0:
        return `tcp dport vmap { ${port()} : ${plain()}, 60000-60010 : drop }`;
      case 1:
        return `ct state vmap { new : ${plain()}, established : ${plain()} }`;
      case 2:
        return 'tcp dport vmap @verdicts';
      case 3:
        return `iifname . ip saddr vmap { "lo" . 127.0.0.0/8 : ${plain()}, "eth0" . 192.168.77.1 : ${plain()} }`;
      case 4:
        return `meta mark set ${pick(random, ['0x1', '0x2', 'ct mark'])}`;
      case 5:
        return 'ct mark set 0x2';
      case 6:
        return 'reject with tcp reset';
      case 7:
        return 'reject with icmp type admin-prohibited';
      default:
        return plain();
    }
  };
  const conditions = () => Array.from({ length: Math.floor(random() * 3) }, condition).join(' ');
  const rules = (chains: readonly string[], count = 1 + Math.floor(random() * 5)) =>
    Array.from({ length: count }, () => `    ${conditions()} ${verdict(chains)}`).join('\n');
  const sets = `
  set hosts { type ipv4_addr; flags interval; elements = { ${some(random, [...ADDRESSES.slice(0, 3), '10.0.0.0/8']).join(', ')} } }
  set ports { type inet_service; elements = { ${some(random, [...ports, 443].map(String)).join(', ')} } }
  set pairs { type ipv4_addr . inet_service; flags interval; elements = { 127.0.0.64/26 . ${port()}, 192.168.77.1 . 1-${port()} } }
  map verdicts { type inet_service : verdict; elements = { ${port()} : ${pick(random, ['drop', 'accept', 'return'])}, 1 : drop${chance(random, 0.3) ? ', * : continue' : ''} } }`;
  const hooks = some(random, ['input', 'input', 'output', 'prerouting', 'postrouting']);
  return hooks
    .map((hook, index) => {
      const family = pick(random, ['ip', 'inet']);
      const priority = pick(random, ['0', '-150', '-300', '10', '-10']);
      const policy = pick(random, ['accept', 'accept', 'drop']);
      const untrack =
        chance(random, 0.1) && hook !== 'input' && hook !== 'postrouting' ? `    ${condition()} notrack\n` : '';
      const type = chance(random, 0.08) && hook !== 'postrouting' && hook !== 'input' ? 'nat' : 'filter';
      const divert = type === 'nat' ? `    ${condition()} meta l4proto tcp redirect to :${port()}\n` : '';
      const at = type === 'nat' ? '-100' : priority;
      return `table ${family} t${index} {
${sets}
  chain one {
${rules([])}
  }
  chain two {
${rules(['one'])}
  }
  chain base {
    type ${type} hook ${hook} priority ${at}; policy ${policy};
${type === 'filter' && at === '-300' ? untrack : ''}${divert}${rules(['one', 'two'])}
  }
}`;
    })
    .join('\n');
}

/** Sets that the rules of `iptablesRules` name, for `ipset restore`. */
export function ipSets(random: Random, { ports }: World): string {
  const port = String(pick(random, [...ports, 443]));
  return `create hosts hash:ip
${some(random, ADDRESSES)
  .map((address) => `add hosts ${address}`)
  .join('\n')}
create nets hash:net
add nets ${pick(random, ['127.0.0.0/8', '192.168.77.0/24', '10.0.0.0/8'])}
create pairs hash:ip,port
add pairs 127.0.0.77,tcp:${port}
add pairs 192.168.77.10,tcp:${port}
add pairs 192.168.77.1,udp:${port}
create marked hash:net,iface
add marked 127.0.0.0/8,lo
add marked 192.168.77.0/24,eth0
`;
}

/** A ruleset for `iptables-restore`, of both kinds. */
export function iptablesRules(random: Random, { ports }: World): string {
  const port = () => String(pick(random, [...ports, 443]));
  const not = () => pick(random, ['', '', '! ']);
  const source = () => pick(random, [...ADDRESSES, ...NETWORKS]);
  /** By which options they are known, so that none is given twice. */
  const condition = (hook: string): string => {
    const inward = hook === 'INPUT' || hook === 'PREROUTING';
    switch (Math.floor(random() * 16)) {
      case 0:
      case 1:
        return `${not()}--dport ${pick(random, [port(), `${port()}:65535`, `:${port()}`, '21:23'])}`;
      case 2:
        return `${not()}--sport ${pick(random, [port(), '1024:65535'])}`;
      case 3:
        return `${not()}-s ${source()}`;
      case 4:
        return `${not()}-d ${source()}`;
      case 5:
        return `${not()}${inward ? '-i' : '-o'} ${pick(random, ['lo', 'eth0', 'e+', 'wlan0'])}`;
      case 6:
        return `-m multiport ${not()}--${pick(random, ['dports', 'sports', 'dports'])} ${port()},80:90,${port()}`;
      case 7: {
        const states = some(random, ['NEW', 'ESTABLISHED', 'RELATED', 'INVALID', 'UNTRACKED']).join(',');
        return `-m conntrack ${not()}--ctstate ${states}`;
      }
      case 8: {
        const flags = pick(random, ['SYN,ACK SYN,ACK', 'ALL ACK', 'SYN NONE', 'FIN,SYN,RST,ACK SYN']);
        return `${not()}--tcp-flags ${flags}`;
      }
      case 9:
        return `-m iprange ${not()}--src-range ${pick(random, SPANS)}`;
      case 10: {
        const types = pick(random, ['LOCAL', 'UNICAST', 'LOCAL,MULTICAST']);
        return `-m addrtype ${not()}--${pick(random, ['src', 'dst'])}-type ${types}`;
      }
      case 11: {
        const sets = ['hosts src', 'hosts dst', 'nets src', 'pairs src,dst', 'pairs dst,dst'];
        return `-m set ${not()}--match-set ${pick(random, inward ? [...sets, 'marked src,src'] : sets)}`;
      }
      case 12:
        return `-m mark ${not()}--mark ${pick(random, ['0x1', '0x1/0x3', '0'])}`;
      case 13:
        return pick(random, ['-p udp', '-p icmp', '! -p udp', '-p 6', '! -f', '-f', '-m pkttype --pkt-type unicast']);
      case 14:
        return pick(random, [
          ...['-m conntrack --ctdir ORIGINAL', '-m conntrack --ctdir REPLY'],
          ...['-m connmark --mark 0x2', '-m connmark ! --mark 0x2', '-m comment --comment "a -j DROP \\"b\\""'],
        ]);
      default:
        return pick(random, [
          ...['-m limit --limit 10000/sec --limit-burst 1000', '-m connlimit --connlimit-above 500'],
          ...['-m state --state NEW', '-m recent --name x --set'],
        ]);
    }
  };
  /** `-p` comes first, and each module and each option once. */
  const together = (conditions: readonly string[], isTcp: boolean): string => {
    const needsTcp = isTcp || conditions.some((text) => /--(?:[sd]ports? |tcp-flags)/.test(text));
    const known = new Set<string>(needsTcp ? ['-p'] : []);
    const chosen = conditions.filter((text) => {
      const key = /(?:-m \S+|-\w|--\S+)/.exec(text)?.[0] ?? '';
      return !known.has(key) && known.add(key);
    });
    // An option after a module is the module's.
    const sorted = chosen.toSorted((a, b) => Number(a.startsWith('-m')) - Number(b.startsWith('-m')));
    return [needsTcp ? '-p tcp' : '', ...sorted].join(' ');
  };
  const target = (isFilter: boolean, chains: readonly string[]): string => {
    const jump = chains.length > 0 ? [`-j ${pick(random, chains)}`, `-g ${pick(random, chains)}`] : [];
    const reject = isFilter ? ['-j REJECT --reject-with tcp-reset', '-j REJECT'] : [];
    const marks = [
      '-j MARK --set-mark 0x1',
      '-j MARK --set-xmark 0x2/0xffffffff',
      '-j CONNMARK --set-mark 0x2',
      '-j CONNMARK --save-mark',
      '-j LOG',
    ];
    return pick(random, [
      '-j ACCEPT',
      '-j ACCEPT',
      '-j DROP',
      '-j RETURN',
      ...jump,
      ...jump,
      ...reject,
      pick(random, marks),
      '',
    ]);
  };
  const rule = (chain: string, hook: string, isFilter: boolean, chains: readonly string[]) => {
    const conditions = Array.from({ length: Math.floor(random() * 3) }, () => condition(hook));
    const jump = target(isFilter, chains);
    return `-A ${chain} ${together(conditions, jump.endsWith('tcp-reset'))} ${jump}`;
  };
  const table = (name: string, hook: string) => {
    const policy = pick(random, ['ACCEPT', 'ACCEPT', 'DROP']);
    const chains = ['one', 'two'];
    const rules = [
      ...Array.from({ length: 3 }, () => rule('one', hook, name === 'filter', [])),
      ...Array.from({ length: 3 }, () => rule('two', hook, name === 'filter', ['one'])),
      ...Array.from({ length: 1 + Math.floor(random() * 5) }, () => rule(hook, hook, name === 'filter', chains)),
    ];
    const untrack =
      name === 'raw' && chance(random, 0.3) ? `-A ${hook} ${together([condition(hook)], false)} -j CT --notrack\n` : '';
    return `*${name}\n:${hook} ${policy} [0:0]\n:one - [0:0]\n:two - [0:0]\n${untrack}${rules.join('\n')}\nCOMMIT\n`;
  };
  const nat = () => {
    const to = pick(random, [`-j REDIRECT --to-ports ${port()}`, `-j DNAT --to-destination :${port()}`, '-j ACCEPT']);
    const hook = pick(random, ['OUTPUT', 'PREROUTING']);
    return `*nat\n:${hook} ACCEPT [0:0]\n-A ${hook} ${together([condition(hook)], true)} ${to}\nCOMMIT\n`;
  };
  const chosen = some(random, [
    () => table('filter', 'INPUT'),
    () => table('filter', 'OUTPUT'),
    () => table('mangle', 'PREROUTING'),
    () => table('mangle', 'INPUT'),
    () => table('raw', 'PREROUTING'),
    () => table('raw', 'OUTPUT'),
    nat,
  ]);
  // Each table once: another one would replace it.
  const texts = chosen.map((make) => make());
  return texts
    .filter((text, index) => texts.findIndex((other) => other.split('\n')[0] === text.split('\n')[0]) === index)
    .join('');
}
