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

export const WORDS = { fail: 'FAILED', warn: 'WARNING', unknown: 'UNKNOWN', ok: 'ok', skip: 'skipped' } as const;
export const COLOURS = { fail: 'bad', warn: 'warn', unknown: 'warn', ok: 'good', skip: 'strong' } as const;

/**
 * A report as a person reads it: what failed, what is to be looked at, what is not known, what is in order; and last,
 * where it can be seen without scrolling, the cause and the next thing to type.
 */
export function reportText(report: Report, options: TextOptions = {}): string {
  const { style = PLAIN, width = null, others = 'named' } = options;
  const { checks, version, device, startedAt, durationMs } = report;
  const having = (status: CheckReport['status']) => checks.filter((check) => check.status === status);
  const told = (status: CheckReport['status']) => having(status).map((check) => checkText(check, { style, width }));
  const named = (status: 'ok' | 'skip') => {
    const ids = having(status).map(({ id }) => id);
    return ids.length === 0 ? [] : [hanging(`${WORDS[status]}: `, ids.join(', '), width)];
  };

  const seconds = (durationMs / 1_000).toFixed(1);
  const head = `tunnel-agent ${version} on ${device}, ${startedAt}: ${counted(checks.length, 'check')} in ${seconds} s`;
  const unknown = others === 'told' ? told('unknown') : unknownParts(having('unknown'), { style, width });
  const rest = {
    told: [...told('skip'), ...told('ok')],
    named: [[...named('ok'), ...named('skip')].join('\n')],
    omitted: [],
  };
  const parts = [
    hanging('', head, width),
    ...told('fail'),
    ...told('warn'),
    ...unknown,
    ...rest[others],
    conclusion(report, { style, width }),
  ];
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`;
}

type Look = Required<Pick<TextOptions, 'style' | 'width'>>;

/** One check, with its evidence and what to do. */
function checkText(check: CheckReport, look: Look): string {
  const { evidence, remedy } = check;
  const { width } = look;
  return [
    headText(check, look),
    ...(evidence ?? '')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => hanging('    | ', line, width)),
    ...(remedy === null ? [] : [hanging('  do: ', remedy, width)]),
  ].join('\n');
}

function headText({ id, status, summary }: CheckReport, { style, width }: Look): string {
  const shown = `${style[COLOURS[status]](WORDS[status])} ${style.strong(id)}: `;
  return hanging(`${WORDS[status]} ${id}: `, summary, width, { indent: '  ', shown });
}

/** Many lack the same thing, being root for example: it is said once. */
function unknownParts(checks: readonly CheckReport[], look: Look): string[] {
  const remedies = [...new Set(checks.map(({ remedy }) => remedy))];
  return remedies.map((remedy) =>
    [
      ...checks.filter((check) => check.remedy === remedy).map((check) => headText(check, look)),
      ...(remedy === null ? [] : [hanging('  do: ', remedy, look.width)]),
    ].join('\n'),
  );
}

function conclusion(report: Report, { style, width }: Look): string {
  const { checks } = report;
  const cause = causeOf(checks);
  if (cause === null) return nothingFailed(checks, { style, width });
  const more = checks.filter(({ status, id }) => status === 'fail' && id !== cause.id).map(({ id }) => id);
  const own = more.length === 1 ? 'a reason of its own' : 'reasons of their own';
  const also = more.length === 0 ? [] : [hanging('', `Failed for ${own}: ${more.join(', ')}`, width)];
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
export function hanging(
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
