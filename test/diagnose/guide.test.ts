import { readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import t from 'tap';
import type { Check } from '../../src/diagnose/check.ts';
import { CHECKS } from '../../src/diagnose/checks.ts';
import { fieldGuide } from '../../src/diagnose/guide.ts';
import { CHECK_IDS } from '../../src/diagnose/ids.ts';
import { check } from './support.ts';

const GUIDE = resolve(import.meta.dirname, '../../../docs/field-guide.md');

if (process.env.ZEROFORCE_REGENERATE === '1') writeFileSync(GUIDE, fieldGuide(CHECKS));

t.test('docs/field-guide.md says what the checks say; made anew by ZEROFORCE_REGENERATE=1', async (t) => {
  t.equal(readFileSync(GUIDE, 'utf8'), fieldGuide(CHECKS));
});

t.test('every link of the field guide leads to a heading of it, or to a page that exists', async (t) => {
  const text = fieldGuide(CHECKS);
  const anchors = new Set([...text.matchAll(/^#+ (.*)$/gm)].map(([, title = '']) => anchorOf(title)));
  for (const [, target = ''] of text.matchAll(/\]\(([^)]*)\)/g)) {
    if (target.startsWith('#')) t.ok(anchors.has(target.slice(1)), target);
    else t.doesNotThrow(() => readFileSync(resolve(GUIDE, '..', target)), target);
  }
});

/** As GitHub does it. */
const anchorOf = (title: string) =>
  title
    .toLowerCase()
    .replace(/[^\w -]/g, '')
    .replaceAll(' ', '-');

t.test('every check has its place in the field guide', async (t) => {
  const text = fieldGuide(CHECK_IDS.map((id) => check(id)));
  for (const id of CHECK_IDS) t.equal(text.split(`\n### ${id}\n`).length, 2, id);
});

t.test('each finding is a row: what is seen, what it means, what to do', async (t) => {
  const one: Check = {
    ...check('sshd.listens', { dependsOn: ['sshd.running'], explainedBy: ['sshd.config'], network: true }),
    title: 'sshd listens',
    findings: {
      elsewhere: {
        status: 'fail',
        symptom: 'ssh says `a | b`, or <nothing>.',
        meaning: 'sshd listens on {addresses} only, not on {localPort}',
        remedy: 'Write ListenAddress 0.0.0.0 into {file}',
      },
      nowhere: {
        status: 'fail',
        symptom: 'ssh says `a | b`, or <nothing>.',
        meaning: 'it is deaf',
        remedy: 'Start it',
      },
      noRoot: { status: 'unknown', symptom: 'Nothing is seen.', meaning: 'it is hidden', remedy: null },
    },
  };
  const text = fieldGuide([one]);
  const rows = [
    '| what you see | look at |',
    '| ssh says `a \\| b`, or \\<nothing>. | [sshd.listens](#sshdlistens) |',
    '| failed | ssh says `a \\| b`, or \\<nothing>. | sshd listens on ADDRESSES only, not on LOCAL_PORT | Write ListenAddress 0.0.0.0 into FILE |',
    '| failed | the same | it is deaf | Start it |',
    '| not known | Nothing is seen. | it is hidden | nothing |',
  ];
  for (const row of rows) t.ok(text.includes(`${row}\n`), `${row}\n${text}`);
  t.match(text, 'Skipped where one of these failed: [sshd.running](#sshdrunning).');
  t.match(text, 'Where one of these failed, too, that is the reason: [sshd.config](#sshdconfig).');
  t.match(text, '`--no-network` leaves it out');
  t.match(text, '\ntunnel-agent diagnose --only sshd.listens\n');
});

t.test('one symptom of several checks is one row of the index', async (t) => {
  const findings = {
    one: { status: 'fail', symptom: 'ssh is refused.', meaning: 'no', remedy: 'do' },
    two: { status: 'warn', symptom: 'ssh is refused.', meaning: 'no', remedy: 'do' },
  } as const;
  const text = fieldGuide([
    { ...check('sshd.running'), findings },
    { ...check('sshd.listens'), findings },
  ]);
  const rows = text.split('\n').filter((line) => line.startsWith('| ssh is refused.'));
  t.strictSame(rows, ['| ssh is refused. | [sshd.running](#sshdrunning), [sshd.listens](#sshdlistens) |']);
});
