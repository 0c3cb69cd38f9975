import t from 'tap';
import { isDrawable, linesProgress, liveProgress } from '../../src/cli/diagnose-progress.ts';
import { PLAIN } from '../../src/cli/style.ts';
import { checkReport } from '../diagnose/support.ts';
import { FakeClock } from '../support/fake-clock.ts';

const terminal = (columns?: number) => {
  const written: string[] = [];
  return { columns, write: (text: string) => written.push(text), written };
};
const began = (id: 'sshd.banner' | 'proxy.connect') => ({ id, ended: null });
const ended = (id: 'sshd.banner' | 'proxy.connect') => ({ id, ended: checkReport(id, 'ok') });

t.test('what is under way stands on one line that is drawn over itself, and nothing stays of it', async (t) => {
  const screen = terminal(80);
  const clock = new FakeClock();
  const progress = liveProgress(screen, 2, clock);
  progress.on(began('sshd.banner'));
  progress.on(began('proxy.connect'));
  clock.advance(1_500);
  progress.on(ended('sshd.banner'));
  progress.end();
  t.strictSame(screen.written, [
    '\r0 of 2, 0 s: sshd.banner\u001b[K',
    '\r0 of 2, 0 s: sshd.banner, proxy.connect\u001b[K',
    '\r0 of 2, 1 s: sshd.banner, proxy.connect\u001b[K',
    '\r1 of 2, 1 s: proxy.connect\u001b[K',
    '\r\u001b[K',
  ]);
  t.equal(clock.pending, 0);
});

t.test('the line is never as wide as the terminal, also when that changes', async (t) => {
  const screen = { ...terminal(30) };
  const progress = liveProgress(screen, 2, new FakeClock());
  progress.on(began('sshd.banner'));
  progress.on(began('proxy.connect'));
  screen.columns = 20;
  progress.on(ended('sshd.banner'));
  screen.columns = 0;
  progress.on(began('sshd.banner'));
  t.strictSame(
    screen.written.map((text) => text.slice(1, -3)),
    [
      ...['0 of 2, 0 s: sshd.banner', '0 of 2, 0 s: sshd.banner, pr…', '1 of 2, 0 s: proxy…'],
      '1 of 2, 0 s: proxy.connect, sshd.banner',
    ],
  );
});

t.test('where nothing can be drawn, a line tells each end', async (t) => {
  const lines: string[] = [];
  const progress = linesProgress((text) => lines.push(text), PLAIN);
  progress.on(began('sshd.banner'));
  progress.on(ended('sshd.banner'));
  progress.end();
  t.strictSame(lines, ['ok      sshd.banner        sshd.banner is ok\n']);
});

t.test('only a terminal that knows more than text is drawn on', async (t) => {
  t.ok(isDrawable({ isTTY: true }, { TERM: 'xterm' }));
  t.notOk(isDrawable({ isTTY: true }, { TERM: 'dumb' }));
  t.notOk(isDrawable({ isTTY: true }, {}));
  t.notOk(isDrawable({}, { TERM: 'xterm' }));
});
