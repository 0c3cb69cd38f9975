import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import t from 'tap';
import { CHECK_IDS } from '../../src/diagnose/ids.ts';
import { tunnelAgent } from '../support/service.ts';

const root = resolve(import.meta.dirname, '../../..');
const document = readFileSync(resolve(root, 'docs/diagnose.md'), 'utf8');

/** The part of the document below a heading, up to the next of the same rank. */
function section(title: string): string {
  const [, text] = document.split(`\n## ${title}\n`);
  t.ok(text, `there is a section ${title}`);
  return text?.split('\n## ')[0] ?? '';
}

/** The cells of each row below a head. */
function rows(text: string, head: string): string[][] {
  const tables = text.split('\n\n').filter((block) => block.startsWith(`${head}\n`));
  return tables.flatMap((table) =>
    table
      .trim()
      .split('\n')
      .slice(2)
      .map((line) =>
        line
          .split(/(?<!\\)\|/)
          .slice(1, -1)
          .map((cell) => cell.trim()),
      ),
  );
}

const files = new Map<string, string>();
const textOf = (file: string) => {
  const known = files.get(file) ?? (existsSync(resolve(root, file)) ? readFileSync(resolve(root, file), 'utf8') : '');
  files.set(file, known);
  return known;
};

/** What is told as a test: `test/diagnose/x.test.ts`: "its name", several with semicolons between them. */
const TEST = /^`(test\/[\w./-]+\.test\.ts)`: "(.+)"$/;

function expectTest(cell: string | undefined, row: string): void {
  const named = (cell ?? '').split(/; (?=`test\/)/);
  for (const each of named) {
    const [, file = '', name = ''] = TEST.exec(each) ?? [];
    t.not(file, '', `names a test: ${row}`);
    if (file === '') continue;
    t.ok(textOf(file).length > 0, `${file} exists`);
    const plain = name.replaceAll('\\|', '|');
    t.ok(textOf(file).replaceAll("\\'", "'").includes(plain), `${file} has "${plain}"`);
  }
}

t.test('every cause names a check that exists, and a test that makes it', async () => {
  const causes = rows(section('Causes'), '| cause | check | test |');
  t.ok(causes.length > 60, `${causes.length} causes`);
  for (const [cause = '', check = '', test] of causes) {
    const ids = [...check.matchAll(/`([^`]+)`/g)].map(([, id = '']) => id);
    t.ok(ids.length > 0, cause);
    for (const id of ids) t.ok((CHECK_IDS as readonly string[]).includes(id), `${cause}: ${id} is a check`);
    expectTest(test, cause);
  }
  t.equal(new Set(causes.map(([cause]) => cause)).size, causes.length, 'each cause stands there once');
});

t.test('every healthy machine names its test', async () => {
  const machines = rows(section('Causes'), '| machine | test |');
  t.ok(machines.length > 0);
  for (const [machine = '', test] of machines) expectTest(test, machine);
});

t.test('every check but those of the paired tunnel names a cause', async () => {
  const text = rows(section('Causes'), '| cause | check | test |').join('\n');
  const without = CHECK_IDS.filter((id) => !id.startsWith('paired.') && !text.includes(`\`${id}\``));
  t.strictSame(without, []);
});

t.test('the options of the command are those of its help', async () => {
  const { stdout } = await tunnelAgent(['diagnose', '--help']);
  const own = /^Options:\n([\s\S]*?)\n\n/m.exec(stdout)?.[1] ?? '';
  const helped = [...own.matchAll(/^ +(?:-\w, )?(--[a-z-]+)/gm)].map(([, option]) => option);
  const told = rows(section('The command'), '| option | what it does |').map(
    ([cell]) => /^`(--[a-z-]+)/.exec(cell ?? '')?.[1],
  );
  t.strictSame(told.sort(), helped.filter((option) => !['--help', '--config'].includes(option ?? '')).sort());
});
