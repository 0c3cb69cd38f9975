import t from 'tap';
import { PLAIN, styleFor } from '../../src/cli/style.ts';
import { list, table, timeText } from '../../src/cli/table.ts';

const COLOURED = styleFor({ isTTY: true }, { TERM: 'xterm' }, true);

t.test('columns are aligned, the last one has no blanks behind it, and nothing is a dash', async (t) => {
  const rows = [
    ['beamer-7', { text: 'online', as: 'good' }, 40_000],
    ['b', null, ''],
  ] as const;
  const plain = 'DEVICE    STATE   PORT\nbeamer-7  online  40000\nb         -       -\n';
  t.equal(table(['DEVICE', 'STATE', 'PORT'], rows, PLAIN), plain);
  const coloured = table(['DEVICE', 'STATE', 'PORT'], rows, COLOURED);
  t.not(coloured, plain);
  t.equal(coloured.replaceAll(/\u001b\[\d+m/g, ''), plain, 'colours take no room');
  t.equal(table(['A', 'B'], [], PLAIN), 'A  B\n');
});

t.test('what strangers chose is one line without controls, and bounded', async (t) => {
  const text = table(['A', 'B'], [['x\n\u001b[2J\u202ey', 'z'.repeat(5_000)]], PLAIN);
  t.equal(text.split('\n').length, 3);
  t.notMatch(text, /[\u001b\u202e]/);
  t.ok(text.length < 2_000);
});

t.test('a list has a name a line', async (t) => {
  t.equal(
    list(
      [
        ['type', 'beamer'],
        ['last seen', null],
      ],
      PLAIN,
    ),
    'type:      beamer\nlast seen: -\n',
  );
});

t.test('times are told to the second, in UTC', async (t) => {
  t.equal(timeText('2026-11-21T17:24:43.999Z'), '2026-11-21 17:24:43');
  t.equal(timeText(0), '1970-01-01 00:00:00');
  t.equal(timeText(null), '');
  t.equal(timeText('soon'), 'soon');
});
