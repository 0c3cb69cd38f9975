import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type Effects, lacking, proceed } from '../../src/migrate/execute.ts';
import type { OurStatus, Tools } from '../../src/migrate/facts.ts';
import { isUnderWay, type Journal, readJournal, type Taken, writeJournal } from '../../src/migrate/journal.ts';
import type { Change, Part } from '../../src/migrate/model.ts';
import type { Clock } from '../../src/support/clock.ts';

// Every step of a migration on a machine of memory, killed before and after each of them, with and without a reboot.

const AGENT: Part = { role: 'agent', program: '/opt/x/tunnel_agent.py' };
const MONITOR: Part = { role: 'monitor', program: '/opt/x/zeroforce_tunnel_monitor.sh' };
const PAIRING: Part = { role: 'pairing', program: '/opt/x/app.py' };
const PARTS = [AGENT, MONITOR, PAIRING];

const entryOf = (part: Part): Taken => ({
  kind: 'systemd',
  name: `${part.role}.service`,
  parts: [part],
  enabled: true,
  running: true,
  disable: [{ change: 'unlink', path: `/etc/wants/${part.role}`, target: `/etc/${part.role}` }],
  stop: [['stop', part.role]],
  start: [['start', part.role]],
});

const JOURNAL: Journal = {
  version: 1,
  phase: 'moving',
  init: 'systemd',
  entries: PARTS.map(entryOf),
  config: { change: 'text', path: '/etc/config', before: null, after: 'b3Vycw==', mode: 0o600 },
  configFile: '/etc/config',
  runDir: '/run/zeroforce',
  httpPort: 5000,
  markPaired: true,
  paired: true,
  expect: { session: true, http: true },
  withinMs: 10_000,
  ours: { enabled: false, running: false },
  failure: null,
  done: [],
};

/** Time goes on as soon as somebody waits for it. */
function fastClock(): Clock {
  let nowMs = 0;
  return {
    nowMs: () => nowMs,
    after: (delayMs, fn) => {
      const timer = setImmediate(() => {
        nowMs += delayMs;
        fn();
      });
      return () => clearImmediate(timer);
    },
  };
}

// In memory: each step syncs its journal to the disk.
const FOLDER = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'zeroforce-migrate-'));
t.teardown(() => rmSync(FOLDER, { recursive: true, force: true }));

class Killed extends Error {}

/** A machine with their three services and ours, and what a look at it finds wrong. */
class Machine {
  readonly files = new Map<string, string>(PARTS.map(({ role }) => [`/etc/wants/${role}`, `/etc/${role}`]));
  readonly running = new Set<string>(PARTS.map(({ role }) => role));
  ours = { enabled: false, running: false, dials: false };
  marked = false;
  flag = true;
  /** Their application: whether it would open to anybody. */
  appKnows = true;
  readonly wrong: string[] = [];
  /** Whether ours reaches the other end. */
  works = true;
  steps = 0;
  killAt: { step: number; when: 'before' | 'after' } | null = null;
  readonly stateDir = mkdtempSync(join(FOLDER, 'state-'));

  async #step(what: () => unknown): Promise<void> {
    this.steps += 1;
    const hit = this.killAt?.step === this.steps ? this.killAt.when : null;
    if (hit === 'before') await this.#die();
    what();
    this.look();
    if (hit === 'after') await this.#die();
  }

  died: (error: Killed) => void = () => undefined;
  #die(): Promise<never> {
    this.died(new Killed());
    return new Promise(() => undefined); // a killed process does nothing more
  }

  look(): void {
    if (this.running.has('agent') && this.ours.dials)
      this.wrong.push(`two agents with one identity, step ${this.steps}`);
    if (!this.files.has('/etc/wants/agent') && !this.ours.enabled)
      this.wrong.push(`none starts at boot, step ${this.steps}`);
    if (this.running.has('pairing') && !this.appKnows) this.wrong.push(`their pairing is open, step ${this.steps}`);
  }

  readonly effects: Effects = {
    make: (change) => this.#step(() => this.#change(change)),
    reread: async () => undefined,
    enableOurs: (_init, on) =>
      this.#step(() => {
        this.ours.enabled = on;
      }),
    startOurs: async (_init, on) => {
      const journal = await readJournal(this.stateDir);
      // `run` waits while theirs has not given way.
      const dials = on && journal !== null && journal.phase !== 'moving' && journal.phase !== 'undoing';
      await this.#step(() => {
        this.ours = { ...this.ours, running: on, dials: dials || (on && journal?.phase === 'undoing') };
        if (!on) this.flag = false; // its run folder goes with it
      });
    },
    act: ([verb, role = '']) =>
      this.#step(() => {
        if (verb === 'stop') this.running.delete(role);
        else {
          this.running.add(role);
          if (role === 'pairing') this.appKnows = this.flag;
          if (role === 'monitor') this.flag = false; // it has looked, and no tunnel stands
        }
      }),
    running: (parts) => parts.filter(({ role }) => this.running.has(role)).map(() => ({ pid: 1, startTicks: 1 })),
    kill: () => undefined,
    readFlag: () => (this.flag ? 'present' : 'absent'),
    keepFlag: (_runDir, state) =>
      this.#step(() => {
        if (state === 'present') this.flag = true;
      }),
    pairingAnswers: async () => this.running.has('pairing'),
  };

  #change(change: Change): void {
    if (change.change === 'unlink') this.files.delete(change.path);
    if (change.change === 'link') this.files.set(change.path, change.target);
    if (change.change === 'text') {
      if (change.after === null) this.files.delete(change.path);
      else this.files.set(change.path, change.after);
    }
  }

  readonly tools: Tools = {
    installedKey: async () => null,
    isMarked: async () => this.marked,
    markPaired: () =>
      this.#step(() => {
        this.marked = true;
      }),
    status: async (): Promise<OurStatus> => {
      if (!this.ours.running) throw new Error('no service answers');
      const up = {
        state: this.works ? 'up' : 'waiting',
        inStateMs: 5_000,
        lastFailure: { sentence: 'the proxy is away' },
      };
      return { pid: 1, http: { port: 5000 }, tunnel: up, faults: [] };
    },
  };

  /** The power is cut, and comes back: what is enabled starts, ours waits for the worker that it starts. */
  reboot(): void {
    this.running.clear();
    for (const { role } of PARTS) if (this.files.has(`/etc/wants/${role}`)) this.running.add(role);
    this.ours = { ...this.ours, running: this.ours.enabled, dials: false };
    this.appKnows = true; // a start of theirs that is not ours to judge
    this.flag = false;
    this.look();
  }

  async go(journal: Journal): Promise<Journal | null> {
    const around = {
      stateDir: this.stateDir,
      effects: this.effects,
      tools: this.tools,
      clock: fastClock(),
      say: () => undefined,
    };
    const killed = new Promise<null>((done) => {
      this.died = () => done(null);
    });
    return Promise.race([proceed(journal, around), killed]);
  }

  state() {
    const { files, running, ours } = this;
    return {
      files: [...files].toSorted(),
      running: [...running].toSorted(),
      ours: { enabled: ours.enabled, running: ours.running },
    };
  }
}

async function begun(): Promise<Machine> {
  const machine = new Machine();
  await writeJournal(machine.stateDir, JOURNAL);
  return machine;
}

async function stepsOf(prepare: (machine: Machine) => Promise<Journal>): Promise<number> {
  const machine = await begun();
  const journal = await prepare(machine);
  machine.steps = 0;
  await machine.go(journal);
  return machine.steps;
}

/** Killed at each step, before and after it; then brought to its end. */
async function killedEverywhere(
  t: Test,
  prepare: (machine: Machine) => Promise<Journal>,
  check: (machine: Machine, end: Journal, name: string) => void,
): Promise<void> {
  const steps = await stepsOf(prepare);
  t.ok(steps > 8, `there are ${steps} steps`);
  for (const reboot of [false, true]) {
    for (let step = 1; step <= steps; step += 1) {
      for (const when of ['before', 'after'] as const) {
        const name = `killed ${when} step ${step}${reboot ? ', power cut' : ''}`;
        const machine = await begun();
        const journal = await prepare(machine);
        machine.steps = 0;
        machine.wrong.length = 0;
        machine.killAt = { step, when };
        await machine.go(journal);
        machine.killAt = null;
        if (reboot) machine.reboot();
        const left = await readJournal(machine.stateDir);
        const end = left !== null && isUnderWay(left) ? await machine.go(left) : left;
        t.strictSame(machine.wrong, [], name);
        if (end !== null) check(machine, end, name);
      }
    }
  }
}

const UNTOUCHED = { ...new Machine().state() };

t.test('killed at every step, a migration comes to its end, and never two agents nor none', async (t) => {
  await killedEverywhere(
    t,
    async () => JOURNAL,
    (machine, end, name) => {
      t.equal(end.phase, 'done', name);
      const { files, running, ours } = machine.state();
      t.strictSame(files, [['/etc/config', 'b3Vycw==']], name);
      t.strictSame(running, [], name);
      t.strictSame(ours, { enabled: true, running: true }, name);
      t.ok(machine.marked, name);
    },
  );
});

t.test('where ours does not prove itself, theirs is back, killed at whatever step', async (t) => {
  await killedEverywhere(
    t,
    async (machine) => {
      machine.works = false;
      return JOURNAL;
    },
    (machine, end, name) => {
      t.equal(end.phase, 'undone', name);
      t.match(end.failure, /the proxy is away/, name);
      t.strictSame(machine.state(), UNTOUCHED, name);
    },
  );
});

t.test('killed at every step, an undo gives back the state before', async (t) => {
  await killedEverywhere(
    t,
    async (machine) => {
      await machine.go(JOURNAL);
      const done = await readJournal(machine.stateDir);
      const undoing: Journal = { ...(done ?? JOURNAL), phase: 'undoing' };
      await writeJournal(machine.stateDir, undoing);
      return undoing;
    },
    (machine, end, name) => {
      t.equal(end.phase, 'undone', name);
      t.equal(end.failure, null, name);
      t.strictSame(machine.state(), UNTOUCHED, name);
    },
  );
});

t.test('where their agent does not start any more, ours goes on', async (t) => {
  const machine = await begun();
  await machine.go(JOURNAL);
  const act = machine.effects.act;
  machine.effects.act = async (argv) => (argv[1] === 'agent' ? undefined : act(argv));
  const end = await machine.go({ ...JOURNAL, phase: 'undoing' });
  t.equal(end?.phase, 'done');
  t.match(end?.done.at(-1), /agent\.service does not run any more, so zeroforce goes on/);
  t.strictSame(machine.ours.running && machine.ours.enabled, true);
});

t.test('what cannot be put back is told, and the rest is put back', async (t) => {
  const machine = await begun();
  await machine.go(JOURNAL);
  const make = machine.effects.make;
  machine.effects.make = async (change) => {
    if (change.change === 'text')
      throw new Error('/etc/config was changed by somebody meanwhile; it was left as it is');
    return make(change);
  };
  const end = await machine.go({ ...JOURNAL, phase: 'undoing' });
  t.equal(end?.phase, 'undone');
  t.match(end?.done.join('\n'), /Not put back: \/etc\/config was changed by somebody/);
  t.strictSame(machine.state().running, ['agent', 'monitor', 'pairing']);
});

t.test('what ours lacks is said in words', async (t) => {
  const up = { state: 'up', inStateMs: 5_000, lastFailure: null };
  const status = (more: Partial<OurStatus>): OurStatus => ({
    pid: 1,
    http: { port: 5000 },
    tunnel: up,
    faults: [],
    ...more,
  });
  const both = { session: true, http: true };
  t.equal(lacking(status({}), both, 5000), null);
  t.match(
    lacking(status({ http: null, faults: [{ code: 'http.port-in-use', sentence: 'taken by x' }] }), both, 5000),
    /taken by x/,
  );
  t.match(
    lacking(status({ tunnel: { ...up, inStateMs: 100 } }), both, 5000),
    /no session/,
    'one that may be thrown out at once',
  );
  t.match(lacking(status({ tunnel: null }), both, 5000), /no tunnel configured/);
  t.equal(lacking(status({ tunnel: null }), { session: false, http: true }, 5000), null);
});
