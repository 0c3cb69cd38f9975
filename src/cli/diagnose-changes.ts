import type { CheckReport, Report } from '../diagnose/report.ts';
import { COLOURS, hanging, type TextOptions, WORDS } from './diagnose-text.ts';
import { PLAIN } from './style.ts';

// What `diagnose --watch` has to tell after its first round. Pure.

/** What is known after a round: a check that could not be looked at this time is as it was seen last. */
export function known(before: Report, after: Report): Report {
  const earlier = new Map(before.checks.map((check) => [check.id, check]));
  const checks = after.checks.map((check) => (isSeen(check) ? check : (earlier.get(check.id) ?? check)));
  return { ...after, checks };
}

/** The checks that are not as they were, a line or two each; empty where nothing has changed. */
export function changesText(before: Report, after: Report, options: Pick<TextOptions, 'style' | 'width'> = {}): string {
  const { style = PLAIN, width = null } = options;
  const earlier = new Map(before.checks.map((check) => [check.id, check]));
  const now = known(before, after);
  const lines = now.checks.flatMap((check) => {
    const { id, status, summary, remedy } = check;
    const was = earlier.get(id);
    if (was === undefined || essence(was) === essence(check)) return [];
    const isSame = was.status === status;
    const change = isSame ? `still ${WORDS[status]}` : `was ${WORDS[was.status]}, now ${WORDS[status]}`;
    const shown = `${style[COLOURS[status]](id)} ${change}: `;
    const told = hanging(`${id} ${change}: `, summary, width, { indent: '  ', shown });
    return [told, ...(remedy === null ? [] : [hanging('  do: ', remedy, width)])];
  });
  if (lines.length === 0) return '';
  const isMended = !now.checks.some(({ status }) => status === 'fail') && before.cause !== null;
  const cause = after.cause !== null && after.cause !== before.cause ? [`The cause: ${style.strong(after.cause)}`] : [];
  const end = isMended ? [style.good('Nothing fails any more.')] : cause;
  return `${[style.strong(after.startedAt), ...lines, ...end].join('\n')}\n`;
}

function isSeen({ status }: CheckReport): boolean {
  return status !== 'unknown' && status !== 'skip';
}

/** What has to differ for a change to be told: numbers change all the time, and so do the words of what is in order. */
function essence({ status, summary }: CheckReport): string {
  return status === 'fail' || status === 'warn' ? `${status} ${summary.replace(/\d+/g, '#')}` : status;
}
