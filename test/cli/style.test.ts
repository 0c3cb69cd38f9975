import t from 'tap';
import { PLAIN, styleFor } from '../../src/cli/style.ts';

const TERMINAL = { isTTY: true };

t.test('colours on a terminal that knows them', async (t) => {
  const style = styleFor(TERMINAL, { TERM: 'xterm-256color' }, true);
  t.equal(style.bad('down'), '\u001b[31mdown\u001b[39m');
  t.equal(style.strong('name'), '\u001b[1mname\u001b[22m');
  t.not(style.good('up'), style.warn('up'));
  t.not(styleFor(TERMINAL, { TERM: 'linux', NO_COLOR: '' }, true), PLAIN, 'an empty NO_COLOR says nothing');
});

t.test('and nowhere else', async (t) => {
  t.equal(styleFor({}, { TERM: 'xterm' }, true), PLAIN, 'a pipe or a file');
  t.equal(styleFor(TERMINAL, { TERM: 'xterm' }, false), PLAIN, '--no-color');
  for (const value of ['1', '0', 'false']) {
    t.equal(styleFor(TERMINAL, { TERM: 'xterm', NO_COLOR: value }, true), PLAIN, `NO_COLOR=${value}`);
  }
  t.equal(styleFor(TERMINAL, { TERM: 'dumb' }, true), PLAIN);
  t.equal(styleFor(TERMINAL, {}, true), PLAIN, 'a serial console that says nothing of itself');
  t.equal(PLAIN.bad('down'), 'down');
});
