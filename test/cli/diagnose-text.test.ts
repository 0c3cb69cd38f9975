import t from 'tap';
import { changesText, known } from '../../src/cli/diagnose-changes.ts';
import { progressLine, reportText } from '../../src/cli/diagnose-text.ts';
import { styleFor } from '../../src/cli/style.ts';
import { checkReport, report } from '../diagnose/support.ts';

const LISTENS = checkReport('sshd.listens', 'fail', {
  title: 'sshd listens where a technician arrives',
  summary: 'sshd listens on 192.168.77.10:22 only, and the tunnel arrives at 127.0.0.1:22',
  evidence: '/proc/net/tcp: 192.168.77.10:22\n/etc/ssh/sshd_config:3: ListenAddress 192.168.77.10',
  remedy: 'Remove the line ListenAddress 192.168.77.10 from /etc/ssh/sshd_config, then run: systemctl restart ssh',
});
const HTTP = checkReport('http.listening', 'fail', { summary: 'port 5000 is taken', remedy: 'Free it' });
const VERSION = checkReport('service.version', 'warn', { summary: 'an older one runs', remedy: 'Restart it' });
const NEEDS_ROOT = { remedy: 'Run it as root: sudo tunnel-agent diagnose' };
const all = report([
  checkReport('config.valid', 'ok'),
  VERSION,
  LISTENS,
  checkReport('firewall.inbound', 'unknown', { summary: 'rules cannot be read', ...NEEDS_ROOT }),
  checkReport('sshd.banner', 'skip'),
  checkReport('sshd.users', 'unknown', { summary: 'sshd -T needs root', ...NEEDS_ROOT }),
  HTTP,
]);

t.test('a report as a whole: the cause and the next thing to type stand last', async (t) => {
  t.equal(
    reportText(all),
    `tunnel-agent 1.2.3 on beamer-1, 2026-11-21T10:00:00.000Z: 7 checks in 1.2 s

FAILED sshd.listens: sshd listens on 192.168.77.10:22 only, and the tunnel arrives at 127.0.0.1:22
    | /proc/net/tcp: 192.168.77.10:22
    | /etc/ssh/sshd_config:3: ListenAddress 192.168.77.10
  do: Remove the line ListenAddress 192.168.77.10 from /etc/ssh/sshd_config, then run: systemctl restart ssh

FAILED http.listening: port 5000 is taken
  do: Free it

WARNING service.version: an older one runs
  do: Restart it

UNKNOWN firewall.inbound: rules cannot be read
UNKNOWN sshd.users: sshd -T needs root
  do: Run it as root: sudo tunnel-agent diagnose

ok: config.valid
skipped: sshd.banner

Failed for a reason of its own: http.listening
The cause: sshd.listens
  sshd listens on 192.168.77.10:22 only, and the tunnel arrives at 127.0.0.1:22
Do next:
  Remove the line ListenAddress 192.168.77.10 from /etc/ssh/sshd_config, then run: systemctl restart ssh
Then look again: tunnel-agent diagnose
`,
  );
});

t.test('on a terminal no line is wider than it, and the end is seen without scrolling', async (t) => {
  const long = {
    summary: 'word '.repeat(80).trim(),
    evidence: 'word '.repeat(400).trim(),
    remedy: 'word '.repeat(80).trim(),
  };
  for (const width of [40, 80]) {
    const text = reportText(report([checkReport('sshd.users', 'fail', long), HTTP]), { width });
    for (const line of text.split('\n')) t.ok(line.length <= width, line);
  }
  const text = reportText(report([checkReport('sshd.users', 'fail', long)]), { width: 80 });
  const end = text.slice(text.lastIndexOf('\n\n')).split('\n');
  t.ok(end.length < 20, `${end.length} lines`);
});

t.test('what has no blanks is not broken: an address can be copied', async (t) => {
  const url = `https://${'x'.repeat(100)}.example`;
  t.match(
    reportText(report([checkReport('api.reachable', 'fail', { summary: `see ${url} there` })]), { width: 40 }),
    `\n  ${url}\n`,
  );
});

t.test('a check that was asked for by name is told at length, whatever it says', async (t) => {
  const text = reportText(
    report([checkReport('sshd.listens', 'ok', { evidence: 'saw it' }), checkReport('sshd.banner', 'skip')]),
    {
      others: 'told',
    },
  );
  t.match(text, 'ok sshd.listens: sshd.listens is ok\n    | saw it\n');
  t.match(text, 'skipped sshd.banner: sshd.banner is skip\n');
});

t.test('after a list of all, the report leaves out what is in order', async (t) => {
  const text = reportText(all, { others: 'omitted' });
  t.match(text, /^tunnel-agent 1.2.3 on .*\n\nFAILED sshd.listens/);
  t.notMatch(text, /^ok|^skipped/m);
});

for (const [what, checks, end] of [
  ['all is well', [checkReport('run.dir', 'ok')], 'Nothing failed.\n'],
  ['there is a warning', [VERSION], 'Nothing failed; 1 thing to look at: see above.\n'],
  [
    'there are things that are not known',
    [VERSION, checkReport('run.dir', 'unknown'), checkReport('clock.sane', 'unknown')],
    'Nothing failed; 1 thing to look at, 2 not known: see above.\n',
  ],
] as const) {
  t.test(`the end where nothing failed and ${what}`, async (t) => {
    t.ok(reportText(report(checks)).endsWith(`\n\n${end}`));
  });
}

t.test('colours change no text and no width', async (t) => {
  const style = styleFor({ isTTY: true }, { TERM: 'xterm' }, true);
  for (const width of [null, 60]) {
    const coloured = reportText(all, { style, width });
    t.match(coloured, /\u001b\[31mFAILED\u001b\[39m/);
    t.equal(coloured.replaceAll(/\u001b\[\d+m/g, ''), reportText(all, { width }));
  }
  const [before, after] = [report([LISTENS]), report([checkReport('sshd.listens', 'ok')])];
  t.equal(changesText(before, after, { style }).replaceAll(/\u001b\[\d+m/g, ''), changesText(before, after));
});

t.test('a line for a check that has ended', async (t) => {
  t.equal(progressLine(VERSION), 'WARNING service.version    an older one runs');
});

t.test('watching: nothing is told where only numbers have changed, or the words of what is in order', async (t) => {
  const round = (seconds: number) =>
    report([
      checkReport('service.running', 'ok', { summary: `up for ${seconds} s` }),
      checkReport('proxy.connect', 'fail', { summary: `no answer for ${seconds} s`, durationMs: seconds }),
    ]);
  t.equal(changesText(round(5), round(10)), '');
});

t.test('watching: what fails, what is mended, and what fails otherwise', async (t) => {
  const fine = report([checkReport('sshd.listens', 'ok'), checkReport('run.dir', 'ok')]);
  const broken = report([LISTENS, checkReport('run.dir', 'ok')]);
  t.equal(
    changesText(fine, broken),
    `2026-11-21T10:00:00.000Z
sshd.listens was ok, now FAILED: ${LISTENS.summary}
  do: ${LISTENS.remedy}
The cause: sshd.listens
`,
  );
  t.equal(
    changesText(broken, fine),
    `2026-11-21T10:00:00.000Z
sshd.listens was FAILED, now ok: sshd.listens is ok
Nothing fails any more.
`,
  );
  const otherwise = report([
    checkReport('sshd.listens', 'fail', { summary: 'on port 2222' }),
    checkReport('run.dir', 'ok'),
  ]);
  t.match(changesText(broken, otherwise), /\nsshd.listens still FAILED: on port 2222\n$/);
});

t.test('watching: what could not be looked at this time is as it was seen last', async (t) => {
  const broken = report([LISTENS]);
  for (const status of ['unknown', 'skip'] as const) {
    const unseen = report([checkReport('sshd.listens', status)]);
    t.equal(changesText(broken, unseen), '', `${status} is no news`);
    const kept = known(broken, unseen);
    t.match(changesText(kept, report([checkReport('sshd.listens', 'ok')])), /was FAILED, now ok/);
    t.match(changesText(unseen, broken), new RegExp(`was ${status === 'skip' ? 'skipped' : 'UNKNOWN'}, now FAILED`));
  }
});

t.test('watching: another failure is the cause now, and those that it hides are no news', async (t) => {
  const before = report([checkReport('sshd.running', 'ok'), LISTENS]);
  const after = report([checkReport('sshd.running', 'fail'), checkReport('sshd.listens', 'skip')]);
  t.equal(
    changesText(before, after),
    '2026-11-21T10:00:00.000Z\nsshd.running was ok, now FAILED: sshd.running is fail\nThe cause: sshd.running\n',
  );
});
