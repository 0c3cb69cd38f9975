import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { KeyFile } from '../../src/pairing/key-file.ts';
import { parsePublicKey } from '../../src/pairing/public-key.ts';
import { requires } from '../support/requires.ts';
import { testLog } from '../support/test-log.ts';
import type { Outcome } from './support/replace-key.ts';
import { generateKey } from './support/ssh-keys.ts';
import { callsOf, type SystemCall, TracedReplacer } from './support/traced-replacer.ts';

// Each run is a process of its own under strace; two at a time on the two cores.
const LANES = 2;
const NAME = 'authorized_keys';
const LEFTOVER = `.${NAME}.0123456789ab.tmp`;

const root = t.testdir();
const oldLine = generateKey(root, 'ed25519').publicLine;
const newLine = generateKey(root, 'ed25519').publicLine;
const nextLine = generateKey(root, 'ed25519').publicLine;

const replacers = Array.from({ length: LANES }, () => new TracedReplacer());
t.teardown(() => Promise.all(replacers.map((replacer) => replacer.stop())));
let runs = 0;

/** What is in place before the replacement. `old` is the text of the file, null where there is none. */
interface Scene {
  name: string;
  old: string | null;
  set(folder: string): void;
}

const scenes: Scene[] = [
  {
    name: 'an old key, and what an earlier crash left',
    old: `restrict ${oldLine}\n`,
    set(folder) {
      mkdirSync(folder);
      chmodSync(folder, 0o755);
      writeFileSync(join(folder, NAME), `restrict ${oldLine}\n`, { mode: 0o600 });
      writeFileSync(join(folder, LEFTOVER), 'half a ke', { mode: 0o600 });
    },
  },
  { name: 'no folder yet', old: null, set: () => undefined },
];

t.test('the key file survives whatever happens at any system call', requires('root', 'strace', 'ptrace'), async (t) => {
  for (const scene of scenes) {
    t.test(scene.name, async (t) => {
      const calls = await callsOfReplacement(t, scene);
      const renamed = calls.findIndex((call) => call.name.startsWith('rename'));
      t.ok(renamed > 10 && renamed < calls.length - 5, `${calls.length} calls, the rename is number ${renamed}`);

      const steps = calls.map((call) => call.name.replace(/at2?$/, ''));
      t.match(
        steps.filter((step) => /^(write|fsync|link|rename)$/.test(step)).join(' '),
        /write fsync link rename fsync$/,
        'the file is on the disk before it has the name, and the name before success is told',
      );

      t.test('killed on entry to each call: the old key up to the rename, the new one after it', async (t) => {
        await inLanes(calls, async (call, replacer, at) => {
          const run = await runWith(scene, replacer, inject(`${call.name}:signal=KILL:when=${call.ordinal}`));
          const label = `killed at ${call.text}`;
          t.equal(run.outcome, null, `${label}: it was killed`);
          t.equal(run.content, at <= renamed ? scene.old : `${newLine}\n`, label);
          t.ok(run.content === null || run.mode === 0o600, `${label}: mode`);
          await checkNextReplacement(t, run, label);
        });
      });

      for (const error of ['EIO', 'ENOSPC']) {
        t.test(`${error} at each call: what is told is what is in the file`, async (t) => {
          await inLanes(calls, async (call, replacer) => {
            const run = await runWith(scene, replacer, inject(`${call.name}:error=${error}:when=${call.ordinal}`));
            const label = `${error} at ${call.text}`;
            checkOutcome(t, scene, run, label, error);
            if (!isPartOfRemoval(call)) t.same(strangers(run), [], `${label}: nothing is left behind`);
            await checkNextReplacement(t, run, label);
          });
        });
      }

      t.test('a disk that dies at each call and answers EIO from then on', async (t) => {
        // Without `write`, which also wakes the main thread.
        const failing = calls.filter((call) => call.name !== 'write');
        await inLanes(failing, async (call, replacer, at) => {
          const run = await runWith(scene, replacer, failFrom(failing, at));
          const label = `dead from ${call.text}`;
          checkOutcome(t, scene, run, label, 'EIO');
          if (calls.indexOf(call) <= renamed) t.match(run.outcome, { ok: false }, `${label}: it cannot succeed`);
          await checkNextReplacement(t, run, label);
        });
      });

      t.test(
        'the folder cannot be synced, nor the rename undone: the new key is in force, and so it is told',
        async (t) => {
          await inLanes([null], async (_, replacer) => {
            const sync = calls.findLast((call) => call.name === 'fsync');
            const undo = calls.findLast((call) => call.name.startsWith(scene.old === null ? 'unlink' : 'rename'));
            const undoOrdinal = scene.old === null ? 1 : 2;
            const run = await runWith(scene, replacer, [
              ...inject(`fsync:error=EIO:when=${sync?.ordinal}`),
              ...inject(`${undo?.name}:error=EIO:when=${undoOrdinal}`),
            ]);
            t.same(run.outcome, { ok: true });
            t.equal(run.content, `${newLine}\n`);
          });
        },
      );
    });
  }
});

interface Run {
  folder: string;
  outcome: Outcome | null;
  content: string | null;
  mode: number;
}

/** Sets the scene in a folder of its own and replaces the key under strace with these options. */
async function runWith(scene: Scene, replacer: TracedReplacer, straceOptions: readonly string[]): Promise<Run> {
  const folder = join(root, `run${++runs}`);
  const path = join(folder, NAME);
  scene.set(folder);
  const outcome = await replacer.replace(path, newLine, straceOptions);
  const exists = existsSync(path);
  return {
    folder,
    outcome,
    content: exists ? readFileSync(path, 'utf8') : null,
    mode: exists ? statSync(path).mode & 0o777 : 0,
  };
}

function inject(expression: string): string[] {
  return ['-o', '/dev/null', '-e', `inject=${expression}`];
}

/** EIO for the call at this index and for all after it; strace counts the calls of each name apart. */
function failFrom(calls: readonly SystemCall[], at: number): string[] {
  const names = new Set(calls.map((call) => call.name));
  return [...names].flatMap((name) => {
    const before = calls.slice(0, at).filter((call) => call.name === name).length;
    return inject(`${name}:error=EIO:when=${before + 1}+`);
  });
}

async function callsOfReplacement(t: Test, scene: Scene): Promise<SystemCall[]> {
  const traceFile = join(root, `trace${runs}`);
  let calls: SystemCall[] = [];
  await inLanes([null], async (_, replacer) => {
    const run = await runWith(scene, replacer, ['-o', traceFile]);
    t.same(run.outcome, { ok: true }, 'undisturbed, it succeeds');
    t.equal(run.content, `${newLine}\n`);
    t.equal(run.mode, 0o600);
    t.equal(statSync(run.folder).mode & 0o777, 0o700);
    t.same(readdirSync(run.folder), [NAME], 'and leaves nothing else');
    calls = callsOf(traceFile, run.folder);
  });
  return calls;
}

function checkOutcome(t: Test, scene: Scene, run: Run, label: string, error: string): void {
  if (run.outcome === null) return void t.fail(`${label}: it died`);
  t.equal(run.content, run.outcome.ok ? `${newLine}\n` : scene.old, `${label}: ${JSON.stringify(run.outcome)}`);
  t.ok(run.content === null || run.mode === 0o600, `${label}: mode`);
  if (run.outcome.ok) return;
  t.equal(run.outcome.code, 'key.unwritable', label);
  t.ok(run.outcome.sentence.includes(error), `${label}: the reason is told: ${run.outcome.sentence}`);
}

/** Another replacement with nothing in its way succeeds and cleans up. */
async function checkNextReplacement(t: Test, { folder }: Run, label: string): Promise<void> {
  const path = join(folder, NAME);
  await new KeyFile({ path, log: testLog().log }).replace(parsePublicKey(nextLine));
  t.equal(readFileSync(path, 'utf8'), `${nextLine}\n`, `${label}: the next replacement`);
  t.same(readdirSync(folder), [NAME], `${label}: the next one cleans up`);
}

/** Calls that look for leftovers or remove them: where these fail, a temporary file may stay until the next time. */
function isPartOfRemoval({ name, text }: SystemCall): boolean {
  return /^(unlink|getdents|newfstatat|fstat)/.test(name) || (name === 'openat' && text.includes('O_NONBLOCK'));
}

/** What this replacement left; the leftover of the earlier crash stays where it fails before the cleaning. */
function strangers({ folder }: Run): string[] {
  return existsSync(folder) ? readdirSync(folder).filter((name) => name !== NAME && name !== LEFTOVER) : [];
}

async function inLanes<T>(
  items: readonly T[],
  work: (item: T, replacer: TracedReplacer, index: number) => Promise<void>,
): Promise<void> {
  const left = [...items.entries()];
  const lane = async (replacer: TracedReplacer) => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) await work(next[1], replacer, next[0]);
  };
  await Promise.all(replacers.map(lane));
}
