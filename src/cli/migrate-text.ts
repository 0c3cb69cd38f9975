import type { Journal } from '../migrate/journal.ts';
import type { Plan } from '../migrate/model.ts';
import { isDue } from '../migrate/model.ts';
import { cleanText } from '../support/text.ts';
import type { Style } from './style.ts';

/** The plan without the content of files: secrets stand in it. */
export function planView(plan: Plan) {
  const { findings, blocked, notes, config, configKeys, httpPort, markPaired, entries, expect } = plan;
  return {
    due: isDue(plan),
    blocked,
    findings,
    notes,
    configuration: config === null ? null : { file: config.path, settings: configKeys },
    httpPort,
    rememberPaired: markPaired,
    services: entries.map(({ kind, name, parts, enabled, running }) => ({ kind, name, parts, enabled, running })),
    tunnelExpected: expect.session,
  };
}

/** What was found, and what will happen to it. */
export function planText(plan: Plan, { good, warn, bad, strong }: Style): string {
  const { findings, blocked, notes, config, configKeys, markPaired, expect, httpPort } = plan;
  if (findings.length === 0 && blocked.length === 0) return 'Nothing of the software deployed before was found.\n';
  const colours = {
    'take over': good,
    'stop and disable': good,
    'leave alone': warn,
    'nothing to do': (text: string) => text,
  };
  const lines = [
    strong('Found:'),
    ...findings.map(
      ({ what, decision, why }) => `  ${colours[decision](decision)}: ${cleanText(what)}\n      ${cleanText(why, 400)}`,
    ),
  ];
  if (isDue(plan) && blocked.length === 0) {
    lines.push('', strong('Then:'));
    if (config !== null) lines.push(`  ${config.path} gets ${configKeys.join(', ')}`);
    if (markPaired) lines.push('  the device is remembered as paired, so that pairing does not open to a stranger');
    lines.push(
      `  zeroforce starts now and at boot, with pairing on port ${httpPort}${expect.session ? ', and holds the tunnel' : ''}`,
    );
    lines.push('  if it does not prove itself, all of this is taken back');
  }
  if (!isDue(plan)) lines.push('', 'There is nothing to take over.');
  lines.push(...notes.map((note) => `\n${warn('Note:')} ${cleanText(note, 600)}.`));
  lines.push(...blocked.map((sentence) => `\n${bad('In the way:')} ${cleanText(sentence, 1200)}.`));
  return `${lines.join('\n')}\n`;
}

const PHASES: Readonly<Record<Journal['phase'], string>> = {
  moving: 'under way: theirs gives way',
  proving: 'under way: zeroforce runs and has to prove itself',
  undoing: 'under way: what was there before is put back',
  done: 'done: zeroforce has taken over',
  undone: 'what was there before is there again',
};

/** How far a migration is, with what was done. */
export function journalText({ phase, failure, done }: Journal, worker: number | null, { strong, bad }: Style): string {
  const cut = worker === null && /^(?:moving|proving|undoing)$/.test(phase);
  const lines = [strong(`Migration: ${PHASES[phase]}`), ...done.map((line) => `  ${cleanText(line, 600)}`)];
  if (cut) lines.push(bad('No process works on it any more. Go on with it: tunnel-agent migrate'));
  if (failure !== null) lines.push(bad(`It was put back because: ${cleanText(failure, 1200)}`));
  return `${lines.join('\n')}\n`;
}

export function journalView({ phase, failure, done, entries, httpPort }: Journal, worker: number | null) {
  const services = entries.map(({ kind, name, enabled, running }) => ({ kind, name, enabled, running }));
  return { phase, worker, failure, done, services, httpPort };
}
