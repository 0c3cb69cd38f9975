import type { Check, Finding } from './check.ts';
import { CHECK_IDS } from './ids.ts';

// The whole of docs/field-guide.md, made from the texts of the checks. Pure.

const WORDS = { fail: 'failed', warn: 'warning', unknown: 'not known' } as const;

/** What somebody who looks for help would call it, and the first words of the ids that belong there. */
const AREAS: readonly (readonly [string, readonly string[]])[] = [
  ['The device and its service', ['config', 'clock', 'disk', 'run', 'service']],
  ['SSH through the tunnel', ['sshd', 'hosts', 'firewall', 'tunnel']],
  ['The device does not come online', ['dns', 'proxy', 'identity', 'public']],
  ['The list of the Meeting server', ['api']],
  ['Pairing, and the paired tunnel', ['monitor', 'keys', 'paired', 'pairing', 'http', 'mdns']],
];

interface Area {
  readonly title: string;
  readonly checks: readonly Check[];
}

/** The field guide, in Markdown. */
export function fieldGuide(all: readonly Check[]): string {
  const ordered = CHECK_IDS.flatMap((id) => all.filter((check) => check.id === id));
  const areas = AREAS.map(([title, words]) => ({
    title,
    checks: ordered.filter(({ id }) => words.includes(id.split('.')[0] ?? '')),
  })).filter(({ checks }) => checks.length > 0);
  const parts = [
    INTRODUCTION,
    '## By symptom',
    ...areas.map(index),
    ...areas.flatMap(({ title, checks }) => [`## ${title}: the checks`, ...checks.map(section)]),
  ];
  return `${parts.join('\n\n')}\n`;
}

const INTRODUCTION = `# Field guide

You see something that is wrong, and do not know why. Log in to the device, as root if you can, and type:

\`\`\`sh
tunnel-agent diagnose
\`\`\`

It looks at everything at once, takes less than 15 seconds, changes nothing, and ends with the cause and the next
thing to type. To look at one thing alone, name it with \`--only sshd.banner\`; with \`--watch\` it goes on, and tells
what changes while you work.

Below is everything that it may say: first [by what you see](#by-symptom), then check by check with what it means and
what to do. Words in capitals stand for what is told on the spot: a PORT, a FILE, a USER. This page is made from the
program itself; how the program decides is in [diagnose.md](diagnose.md).

A check *failed* where somebody is kept out for certain. A *warning* is about something that works, and will not for
long, or not for everybody. *Not known* means that it could not be looked at, mostly because you are not root.`;

/** The symptoms of what failed or is warned of; what could not be looked at has none. */
function index({ title, checks }: Area): string {
  const found = new Map<string, Set<string>>();
  for (const { id, findings } of checks) {
    for (const { status, symptom } of Object.values(findings)) {
      if (status === 'unknown') continue;
      const text = shown(symptom);
      found.set(text, (found.get(text) ?? new Set()).add(id));
    }
  }
  const rows = [...found].map(([symptom, ids]) => [symptom, links([...ids])]);
  return `### ${title}\n\n${table(['what you see', 'look at'], rows)}`;
}

function section({ id, title, dependsOn, explainedBy, network, findings }: Check): string {
  const notes = [
    `Looks whether ${title}.`,
    ...(dependsOn.length > 0 ? [`Skipped where one of these failed: ${links(dependsOn)}.`] : []),
    ...(explainedBy.length > 0 ? [`Where one of these failed, too, that is the reason: ${links(explainedBy)}.`] : []),
    ...(network ? ['Speaks with other machines; `--no-network` leaves it out.'] : []),
  ];
  let last = '';
  const rows = Object.values(findings).map(({ status, symptom, meaning, remedy }: Finding) => {
    const seen = symptom === last ? 'the same' : shown(symptom);
    last = symptom;
    return [WORDS[status], seen, shown(meaning), remedy === null ? 'nothing' : shown(remedy)];
  });
  return [
    `### ${id}`,
    notes.join(' '),
    `\`\`\`sh\ntunnel-agent diagnose --only ${id}\n\`\`\``,
    table(['it says', 'what you see', 'what it means', 'what to do'], rows),
  ].join('\n\n');
}

const links = (ids: readonly string[]) => ids.map((id) => `[${id}](#${anchor(id)})`).join(', ');

function table(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  return [heads, heads.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

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
