import { type ChildProcess, spawn } from 'node:child_process';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import { type Connection, type Fate, fateOf } from '../../src/diagnose/firewall/connections.ts';
import { PacketFilter } from '../../src/diagnose/firewall/evaluate.ts';
import type { Ruleset } from '../../src/diagnose/firewall/model.ts';
import { readNft } from '../../src/diagnose/firewall/nft-reader.ts';
import { readNftText } from '../../src/diagnose/firewall/nft-text.ts';
import { endChild, run } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { ADDRESS, LAN_PEER, type Machine, machine, NEEDS_MACHINE } from './machine.ts';
import { nftRules, seeded } from './random-rules.ts';

// What the evaluator says of a ruleset is compared with what the kernel does with it.

const CHILD = resolve(import.meta.dirname, 'packet-child.js');
const PORTS = [22, 5000, 8007];
const FIRST_SEED = Number(process.env.ZEROFORCE_SEED ?? 1);
const ROUNDS = Number(process.env.ZEROFORCE_ROUNDS ?? 60);
/** A packet that is not let in is waited for so long; one that should be, longer. */
const SHORT_MS = 40;
const LONG_MS = 3_000;

type Attempt = (connection: Connection, waitMs: number) => Promise<string>;

/** A process that tries connections in one of the networks of a machine. */
async function packets(t: Test, place: readonly string[], ports: readonly number[]): Promise<Attempt> {
  const [program = '', ...args] = [...place, process.execPath, CHILD, ...ports.map(String)];
  const child: ChildProcess = spawn(program, args, {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { PATH: process.env.PATH ?? '' },
  });
  t.teardown(() => endChild(child));
  const waiting = new Map<number, (end: string) => void>();
  let ready: () => void = () => undefined;
  const started = new Promise<void>((done) => {
    ready = done;
  });
  createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
    if (line === 'ready') return ready();
    const { id, end } = JSON.parse(line) as { id: number; end: string };
    waiting.get(id)?.(end);
    waiting.delete(id);
  });
  await started;
  let last = 0;
  return (connection, waitMs) =>
    new Promise((done) => {
      const id = ++last;
      waiting.set(id, done);
      const { client: from, clientPort: fromPort, server: to, port } = connection;
      child.stdin?.write(`${JSON.stringify({ id, from, fromPort, to, port, waitMs })}\n`);
    });
}

async function inside(device: Machine, command: string[], input = ''): Promise<string> {
  const [program = '', ...args] = [...device.inside, ...command];
  const { stdout, stderr, code } = await run(program, args, { input });
  if (code !== 0) throw new Error(`${command.join(' ')}: ${stderr}`);
  return stdout;
}

/** Loads a ruleset without the rules that this kernel or this nft does not take. */
async function load(device: Machine, text: string): Promise<void> {
  const lines = `flush ruleset\n${text}`.split('\n');
  for (;;) {
    const failed = await inside(device, ['nft', '-f', '-'], lines.join('\n')).catch((error: unknown) => String(error));
    const wrong = [...failed.matchAll(/stdin:(\d+):/g)].map(([, line]) => Number(line) - 1);
    if (wrong.length === 0) return;
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

t.test(
  'random rulesets of nft do with packets what the evaluator says',
  requires(...NEEDS_MACHINE, 'nft'),
  async (t) => {
    const device = await machine(t);
    const here = await packets(t, device.inside, PORTS);
    const there = await packets(t, device.inLan, []);
    let clientPort = 33_000;
    const counts = { passes: 0, blocked: 0, diverted: 0, unsure: 0 };
    for (let seed = FIRST_SEED; seed < FIRST_SEED + ROUNDS; seed++) {
      const text = nftRules(seeded(seed), { ports: PORTS });
      await load(device, text);
      const json = await inside(device, ['nft', '-j', 'list', 'ruleset']);
      const printed = await inside(device, ['nft', '-a', 'list', 'ruleset']);
      const ruleset: Ruleset = readNft(json, readNftText(printed));
      const filter = new PacketFilter(ruleset);
      const connections: Connection[] = [
        {
          protocol: 'tcp',
          client: '127.0.0.77',
          clientPort: 0,
          server: '127.0.0.1',
          port: 22,
          device: 'lo',
          outward: true,
        },
        {
          protocol: 'tcp',
          client: LAN_PEER,
          clientPort: 0,
          server: ADDRESS,
          port: 8007,
          device: 'eth0',
          outward: false,
        },
        {
          protocol: 'tcp',
          client: LAN_PEER,
          clientPort: 0,
          server: ADDRESS,
          port: 5000,
          device: 'eth0',
          outward: false,
        },
      ];
      await Promise.all(
        connections.map(async (each) => {
          clientPort = clientPort >= 60_000 ? 33_000 : clientPort + 1;
          const connection = { ...each, clientPort };
          const fate = fateOf(connection, filter);
          counts[fate.kind]++;
          const wanted = expected(fate, connection.port);
          const attempt = connection.device === 'lo' ? here : there;
          const end = await attempt(connection, fate.kind === 'blocked' || wanted === null ? SHORT_MS : LONG_MS);
          if (wanted !== null && !wanted.test(end)) {
            t.fail(
              `seed ${seed}: ${JSON.stringify(connection)} is ${JSON.stringify(fate, replacer)}, in truth: ${end}\n${printed}`,
            );
          }
        }),
      );
    }
    t.comment(JSON.stringify(counts));
    t.ok(counts.passes > ROUNDS / 3 && counts.blocked > ROUNDS / 3, `both ends are met: ${JSON.stringify(counts)}`);
    t.ok(counts.unsure < ROUNDS / 5, 'most is understood');
  },
);

const replacer = (key: string, value: unknown) =>
  typeof value === 'bigint' ? String(value) : key === 'base' || key === 'rules' || key === 'steps' ? undefined : value;
