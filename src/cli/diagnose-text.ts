import { type CheckReport, causeOf, type Report } from '../diagnose/report.ts';
import { counted } from '../support/text.ts';
import { PLAIN, type Style } from './style.ts';

export interface TextOptions {
  style?: Style;
  /** Columns to be filled; null to leave each line as long as it is, as for a file. */
  width?: number | null;
  /** What was found to be in order, or skipped: told at length, named only, or left out. */
  others?: 'told' | 'named' | 'omitted';
}

const WORDS = { fail: 'FAILED', warn: 'WARNING', unknown: 'UNKNOWN', ok: 'ok', skip: 'skipped' } as const;
const COLOURS = { fail: 'bad', warn: 'warn', unknown: 'warn', ok: 'good', skip: 'strong' } as const;

/**
 * A report as a person reads it: what failed, what is to be looked at, what is not known, what is in order; and last,
 * where it can be seen without scrolling, the cause and the next thing to type.
 */
export function reportText(report: Report, options: TextOptions = {}): string {
  const { style = PLAIN, width = null, others = 'named' } = options;
  const { checks, version, device, startedAt, durationMs } = report;
  const having = (status: CheckReport['status']) => checks.filter((check) => check.status === status);
  const told = (each: readonly CheckReport[]) => each.map((check) => checkText(check, { style, width }));
  const named = (word: string, { length }: readonly CheckReport[], each: readonly CheckReport[]) =>
    length === 0 ? [] : [hanging(`${word}: `, each.map(({ id }) => id).join(', '), width)];

  const head = `tunnel-agent ${version} on ${device}, ${startedAt}: ${counted(checks.length, 'check')} in ${(durationMs / 1000).toFixed(1)} s`;
  const [ok, skipped] = [having('ok'), having('skip')];
  const rest = {
    told: [...told(skipped), ...told(ok)],
    named: [[...named('ok', ok, ok), ...named('skipped', skipped, skipped)].join('\n')],
    omitted: [],
  }[others];
  const parts = [
    ...(others === 'omitted' ? [] : [hanging('', head, width)]),
    ...told(having('fail')),
    ...told(having('warn')),
    ...unknownParts(having('unknown'), { style, width }),
    ...rest,
    conclusion(report, { style, width }),
  ];
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`;
}

type Look = Required<Pick<TextOptions, 'style' | 'width'>>;

/** One check, with its evidence and what to do. */
function checkText({ id, title, status, summary, evidence, remedy }: CheckReport, { style, width }: Look): string {
  return [
    `${style[COLOURS[status]](WORDS[status])} ${style.strong(id)}: ${title}`,
    hanging('  ', summary, width),
    ...(evidence ?? '')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => hanging('    | ', line, width)),
    ...(remedy === null ? [] : [hanging('  do: ', remedy, width)]),
  ].join('\n');
}

/** Many lack the same thing, being root for example: it is said once. */
function unknownParts(checks: readonly CheckReport[], { style, width }: Look): string[] {
  const remedies = [...new Set(checks.map(({ remedy }) => remedy))];
  return remedies.map((remedy) =>
    [
      ...checks
        .filter((check) => check.remedy === remedy)
        .map(({ id, summary }) => {
          const shown = `${style[COLOURS.unknown](WORDS.unknown)} ${style.strong(id)}: `;
          return hanging(`${WORDS.unknown} ${id}: `, summary, width, { indent: '  ', shown });
        }),
      ...(remedy === null ? [] : [hanging('  do: ', remedy, width)]),
    ].join('\n'),
  );
}

function conclusion(report: Report, { style, width }: Look): string {
  const { checks } = report;
  const cause = causeOf(checks);
  if (cause === null) return nothingFailed(checks, { style, width });
  const more = checks.filter(({ status, id }) => status === 'fail' && id !== cause.id).map(({ id }) => id);
  const also = more.length === 0 ? [] : [hanging('', `Failed for reasons of their own: ${more.join(', ')}`, width)];
  return [
    ...also,
    `${style.bad('The cause:')} ${style.strong(cause.id)}`,
    hanging('  ', cause.summary, width),
    ...(cause.remedy === null ? [] : [style.strong('Do next:'), hanging('  ', cause.remedy, width)]),
    'Then look again: tunnel-agent diagnose',
  ].join('\n');
}

function nothingFailed(checks: readonly CheckReport[], { style, width }: Look): string {
  const number = (wanted: CheckReport['status']) => checks.filter(({ status }) => status === wanted).length;
  const notes = [
    ...(number('warn') > 0 ? [`${counted(number('warn'), 'thing')} to look at`] : []),
    ...(number('unknown') > 0 ? [`${number('unknown')} not known`] : []),
  ];
  const text = hanging('', `Nothing failed${notes.length === 0 ? '' : `; ${notes.join(', ')}: see above`}.`, width);
  return text.replace('Nothing failed', style.good('Nothing failed'));
}

/** One line for a check that has ended, where no terminal shows what is under way. */
export function progressLine({ id, status, summary }: CheckReport, style: Style = PLAIN): string {
  return `${style[COLOURS[status]](WORDS[status].padEnd(7))} ${id.padEnd(18)} ${summary}`;
}

/**
 * `first` and the text, broken between words at `width`; the lines that follow are indented as far, or by `indent`.
 * @param shown `first` as it is printed: colours have no width
 */
function hanging(
  first: string,
  text: string,
  width: number | null,
  { indent = ' '.repeat(first.length), shown = first } = {},
): string {
  if (width === null) return shown + text;
  const room = Math.max(width, indent.length + 20);
  const lines = [first];
  let empty = true;
  for (const word of text.split(' ')) {
    const line = lines.at(-1) ?? '';
    if (empty || line.length + 1 + word.length <= room)
      lines[lines.length - 1] = empty ? line + word : `${line} ${word}`;
    else lines.push(indent + word);
    empty = false;
  }
  return shown + lines.join('\n').slice(first.length);
}

/** What is not the same as in the report before, a line or two a check; empty where nothing has changed. */
export function changesText(before: Report, after: Report, options: Pick<TextOptions, 'style' | 'width'> = {}): string {
  const { style = PLAIN, width = null } = options;
  const known = new Map(before.checks.map((check) => [check.id, check]));
  const lines = after.checks.flatMap((check) => {
    const earlier = known.get(check.id);
    if (earlier !== undefined && essence(earlier) === essence(check)) return [];
    const [was, is] = [WORDS[earlier?.status ?? 'unknown'], WORDS[check.status]];
    const change = was === is ? `still ${is}` : `was ${was}, now ${is}`;
    const shown = `${style[COLOURS[check.status]](check.id)} ${change}: `;
    const told = hanging(`${check.id} ${change}: `, check.summary, width, { indent: '  ', shown });
    return [told, ...(check.remedy === null || is === was ? [] : [hanging('  do: ', check.remedy, width)])];
  });
  if (lines.length === 0) return '';
  const cause =
    after.cause === before.cause
      ? []
      : [after.cause === null ? style.good('Nothing fails any more.') : `The cause: ${style.strong(after.cause)}`];
  return `${[after.startedAt, ...lines, ...cause].join('\n')}\n`;
}

/** What has to differ for a change to be told: numbers change all the time, and so do the words of what is in order. */
function essence({ status, summary }: CheckReport): string {
  return status === 'ok' || status === 'skip' ? status : `${status} ${summary.replace(/\d+/g, '#')}`;
}
