import type { Check, Finding } from './check.ts';
import { CHECK_IDS } from './ids.ts';

// The whole of docs/field-guide.md, made from the texts of the checks. Pure.

const WORDS = { fail: 'failed', warn: 'warning', unknown: 'not known' } as const;

/** The field guide, in Markdown. */
export function fieldGuide(all: readonly Check[]): string {
  const checks = CHECK_IDS.flatMap((id) => all.filter((check) => check.id === id));
  return `${[INTRODUCTION, index(checks), ...checks.map(section)].join('\n\n')}\n`;
}

const INTRODUCTION = `# Field guide

You see something that is wrong, and do not know why. Log in to the device, as root if you can, and type:

\`\`\`sh
tunnel-agent diagnose
\`\`\`

It looks at everything at once, takes less than 15 seconds, changes nothing, and ends with the cause and the next
thing to type. Where you cannot wait, or want to look at one thing again and again, name it: \`tunnel-agent diagnose
--only sshd.banner\`, with \`--watch\` to see when it changes.

Below is everything that it may say: first [by what you see](#by-symptom), then check by check with what it means and
what to do. Words in capitals stand for what is told on the spot: a PORT, a FILE, a USER. This page is made from the
program itself; how the program decides is in [diagnose.md](diagnose.md).

A check *failed* where somebody is kept out for certain. A *warning* is about something that works, and will not for
long, or not for everybody. *Not known* means that it could not be looked at, mostly because you are not root.`;

/** The symptoms of what failed or is warned of; what could not be looked at has none. */
function index(checks: readonly Check[]): string {
  const rows = new Map<string, string[]>();
  for (const { id, findings } of checks) {
    for (const { status, symptom } of Object.values(findings)) {
      if (status === 'unknown') continue;
      const text = shown(symptom);
      const ids = rows.get(text) ?? [];
      if (!ids.includes(id)) rows.set(text, [...ids, id]);
    }
  }
  const lines = [...rows].map(([symptom, ids]) => row(symptom, ids.map((id) => `[${id}](#${anchor(id)})`).join(', ')));
  return `## By symptom\n\n${row('what you see', 'look at')}\n${row('---', '---')}\n${lines.join('\n')}`;
}

function section({ id, title, dependsOn, explainedBy, network, findings }: Check): string {
  const links = (ids: readonly string[]) => ids.map((other) => `[${other}](#${anchor(other)})`).join(', ');
  const notes = [
    ...(dependsOn.length > 0 ? [`Skipped where one of these failed: ${links(dependsOn)}.`] : []),
    ...(explainedBy.length > 0 ? [`Where one of these failed, too, that is the reason: ${links(explainedBy)}.`] : []),
    ...(network ? ['Speaks with other machines; `--no-network` leaves it out.'] : []),
  ];
  const all = Object.values(findings);
  return [
    `## ${id}`,
    `Looks whether ${title}.`,
    ...(notes.length > 0 ? [notes.join(' ')] : []),
    `\`\`\`sh\ntunnel-agent diagnose --only ${id}\n\`\`\``,
    ...(all.length > 0
      ? [
          [
            row('', 'what you see', 'what it means', 'what to do'),
            row('---', '---', '---', '---'),
            ...all.map(findingRow),
          ].join('\n'),
        ]
      : []),
  ].join('\n\n');
}

function findingRow({ status, symptom, meaning, remedy }: Finding): string {
  return row(WORDS[status], shown(symptom), shown(meaning), remedy === null ? 'nothing' : shown(remedy));
}

const row = (...cells: string[]) => `| ${cells.join(' | ')} |`;

/** A template for a cell of a table: `{localPort}` is LOCAL_PORT, and no sign but the backtick is taken for Markdown. */
function shown(template: string): string {
  const filled = template.replace(/\{([a-z][A-Za-z]*)\}/g, (_, name: string) => placeholder(name)).replace(/\s+/g, ' ');
  return filled
    .split('`')
    .map((part, at) => (at % 2 === 1 ? part : part.replace(/[<*]/g, '\\$&')).replaceAll('|', '\\|'))
    .join('`');
}

function placeholder(name: string): string {
  return name.replace(/[A-Z]/g, '_$&').toUpperCase();
}

/** As GitHub names a heading: dots are left out. */
function anchor(id: string): string {
  return id.replaceAll('.', '');
}
