import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import t from 'tap';
import { EXIT, PAIR_EXIT } from '../../src/cli/common.ts';
import { tunnelAgent } from '../support/service.ts';

const root = resolve(import.meta.dirname, '../../..');
const document = readFileSync(resolve(root, 'docs/pair-client.md'), 'utf8');

t.test('docs/pair-client.md has every event with its fields, and no other', async (t) => {
  const source = readFileSync(resolve(root, 'src/pair-client/events.ts'), 'utf8');
  const defined = [...source.matchAll(/\| \{ event: '(\w+)'([^}]*)\}/g)].map(([, name, fields = '']) => [
    name,
    [...fields.matchAll(/(\w+):/g)].map((match) => match[1]),
  ]);
  const [, table = ''] = document.split('\n## Events\n');
  const documented = [...table.matchAll(/^\| `(\w+)` \|([^|]*)\|/gm)].map(([, name, fields = '']) => [
    name,
    [...fields.replace(/\([^)]*\)/g, '').matchAll(/`(\w+)`/g)].map((match) => match[1]),
  ]);
  t.ok(defined.length > 10, 'there is something to compare');
  const withRemedy = defined.map(([name, fields = []]) => [
    name,
    fields.includes('code') ? [...fields, 'remedy'].sort() : [...fields].sort(),
  ]);
  t.strictSame(documented.map(([name, fields = []]) => [name, [...fields].sort()]).sort(), withRemedy.sort());
});

t.test('the exit codes stand in docs/pair-client.md and in the help', async (t) => {
  const [, table = ''] = document.split('\n## Exit codes\n');
  const documented = [...table.matchAll(/^\| (\d+) \|/gm)].map((match) => Number(match[1]));
  t.strictSame(documented, [EXIT.ok, EXIT.failed, EXIT.usage, ...Object.values(PAIR_EXIT)]);
  const { stdout } = await tunnelAgent(['pair', '--help']);
  for (const code of documented) t.match(stdout, new RegExp(`^ {2}${code} `, 'm'));
});

t.test('a wrong command line: exit 2', async (t) => {
  for (const args of [
    ['300.1.1.1'],
    ['-x'],
    ['beamer', '--forward', '1:2'],
    ['beamer', '--http-port', '0'],
    ['a', 'b'],
  ]) {
    const { code, stderr } = await tunnelAgent(['pair', ...args, '--once'], { HOME: '/nonexistent' });
    t.equal(code, 2, stderr);
  }
});
