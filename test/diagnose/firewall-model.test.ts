import t from 'tap';
import { type Connection, type Fate, fateOf } from '../../src/diagnose/firewall/connections.ts';
import { PacketFilter } from '../../src/diagnose/firewall/evaluate.ts';
import { readIpSets } from '../../src/diagnose/firewall/ipset-reader.ts';
import { readIptables } from '../../src/diagnose/firewall/iptables-reader.ts';
import type { Ruleset } from '../../src/diagnose/firewall/model.ts';
import { readNft } from '../../src/diagnose/firewall/nft-reader.ts';
import { readNftText } from '../../src/diagnose/firewall/nft-text.ts';
import { run } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { ADDRESS, LAN_PEER, type Machine, machine, NEEDS_MACHINE } from './machine.ts';
import { packets } from './packets.ts';
import { ipSets, iptablesRules, nftRules, type Random, seeded } from './random-rules.ts';

// What the evaluator says of a ruleset is compared with what the kernel does with it.

const PORTS = [22, 5000, 8007];
const FIRST_SEED = Number(process.env.ZEROFORCE_SEED ?? 1);
const ROUNDS = Number(process.env.ZEROFORCE_ROUNDS ?? 40);
const NEEDS = [...NEEDS_MACHINE, 'nft', 'iptables-nft', 'iptables-legacy', 'ipset'];
const CONNECTIONS: readonly Connection[] = [
  { protocol: 'tcp', client: '127.0.0.77', clientPort: 0, server: '127.0.0.1', port: 22, device: 'lo', outward: true },
  ...[8007, 5000].map((port): Connection => {
    const way = { device: 'eth0', outward: false } as const;
    return { protocol: 'tcp', client: LAN_PEER, clientPort: 0, server: ADDRESS, port, ...way };
  }),
];
/** Back to what was there before the first rule. */
const LEGACY_RESET = `for table in filter mangle raw nat; do
  iptables-legacy -t $table -F; iptables-legacy -t $table -X
  for chain in PREROUTING INPUT OUTPUT; do iptables-legacy -t $table -P $chain ACCEPT 2>/dev/null || true; done
done`;
/** A packet that is not let in is waited for so long; one that should be, longer. */
const SHORT_MS = 40;
const LONG_MS = 3_000;

async function inside(device: Machine, command: string[], input = ''): Promise<string> {
  const [program = '', ...args] = [...device.inside, ...command];
  const { stdout, stderr, code } = await run(program, args, { input });
  if (code !== 0) throw new Error(`${command.join(' ')}: ${stderr}`);
  return stdout;
}

/** Loads a ruleset without the rules that this kernel or this nft does not take. */
async function load(device: Machine, command: string[], text: string, before = ''): Promise<void> {
  const lines = `${before}${text}`.split('\n');
  for (;;) {
    const failed = await inside(device, command, lines.join('\n')).catch((error: unknown) => String(error));
    const wrong = [...failed.matchAll(/stdin:(\d+):|line:? (\d+)/g)].map(([, a, b]) => Number(a ?? b) - 1);
    if (wrong.every((line) => lines[line] === '')) return;
    for (const line of wrong) lines[line] = '';
  }
}

/** Null where the evaluator does not say what happens. */
function expected(fate: Fate, port: number): RegExp | null {
  if (fate.kind === 'passes') return new RegExp(`^greeted by ${port}$`);
  if (fate.kind === 'blocked') return /^(silence|E.*)$/;
  if (fate.kind === 'diverted' && fate.port !== null) {
    return PORTS.includes(fate.port) ? new RegExp(`^greeted by ${fate.port}$`) : /^ECONNREFUSED$/;
  }
  return null;
}

/** How one kind of rules gets into the machine, and is read again. */
interface Kind {
  name: string;
  load: (device: Machine, random: Random) => Promise<void>;
  read: (device: Machine) => Promise<{ ruleset: Ruleset; printed: string }>;
}

const NFT: Kind = {
  name: 'nft',
  load: (device, random) => load(device, ['nft', '-f', '-'], nftRules(random, { ports: PORTS }), 'flush ruleset\n'),
  async read(device) {
    const json = await inside(device, ['nft', '-j', 'list', 'ruleset']);
    const printed = await inside(device, ['nft', '-a', 'list', 'ruleset']);
    return { ruleset: readNft(json, readNftText(printed)), printed };
  },
};

const iptables = (variant: 'nft' | 'legacy'): Kind => ({
  name: `iptables-${variant}`,
  async load(device, random) {
    const sets = ipSets(random, { ports: PORTS });
    const reset = variant === 'nft' ? 'nft flush ruleset' : LEGACY_RESET;
    await device.sh(`${reset}\nipset flush\nipset -exist restore <<'END'\n${sets}END`);
    await load(device, [`iptables-${variant}-restore`], iptablesRules(random, { ports: PORTS }));
  },
  async read(device) {
    const printed = await inside(device, [`iptables-${variant}-save`]);
    const sets = readIpSets(await inside(device, ['ipset', 'save']));
    const tool = variant === 'nft' ? 'iptables' : 'iptables-legacy';
    return { ruleset: readIptables(printed, { tool, family: 'ip', sets }), printed };
  },
});

for (const kind of [NFT, iptables('nft'), iptables('legacy')]) {
  t.test(`random rules of ${kind.name} do with packets what is said of them`, requires(...NEEDS), async (t) => {
    const device = await machine(t);
    const here = await packets(t, device.inside, PORTS);
    const there = await packets(t, device.inLan, []);
    let clientPort = 33_000;
    const counts = { passes: 0, blocked: 0, diverted: 0, unsure: 0 };
    for (let seed = FIRST_SEED; seed < FIRST_SEED + ROUNDS; seed++) {
      await kind.load(device, seeded(seed));
      const { ruleset, printed } = await kind.read(device);
      const filter = new PacketFilter(ruleset);
      await Promise.all(
        CONNECTIONS.map(async (each) => {
          clientPort = clientPort >= 60_000 ? 33_000 : clientPort + 1;
          const connection = { ...each, clientPort };
          const fate = fateOf(connection, filter);
          counts[fate.kind]++;
          const wanted = expected(fate, connection.port);
          const attempt = connection.device === 'lo' ? here : there;
          const end = await attempt(connection, fate.kind === 'blocked' || wanted === null ? SHORT_MS : LONG_MS);
          if (wanted === null || wanted.test(end)) return;
          const said = JSON.stringify(fate, replacer);
          t.fail(`seed ${seed}: ${JSON.stringify(connection)} is ${said}, in truth: ${end}`, { printed });
        }),
      );
    }
    t.comment(JSON.stringify(counts));
    t.ok(counts.passes > ROUNDS / 3 && counts.blocked > ROUNDS / 3, `both ends are met: ${JSON.stringify(counts)}`);
    t.ok(counts.unsure < ROUNDS / 3, 'most is understood');
  });
}

const replacer = (key: string, value: unknown) =>
  typeof value === 'bigint' ? String(value) : key === 'base' || key === 'rules' || key === 'steps' ? undefined : value;
