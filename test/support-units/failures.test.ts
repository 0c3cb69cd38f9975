import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import t from 'tap';
import { asFailure, FAILURES, Failure, systemCode } from '../../src/support/failures.ts';

const root = resolve(import.meta.dirname, '../../..');
const DOCUMENT = join(root, 'docs/failures.md');
const ROW = /^\| `([^`]+)` \| (.*) \| (.*) \|$/gm;

/** The rows of docs/failures.md: name, meaning, remedy. The meanings are written there by hand. */
const rows = () => [...readFileSync(DOCUMENT, 'utf8').matchAll(ROW)].map(([, ...columns]) => columns);
const remedyOf = (name: string) => (FAILURES as Record<string, string>)[name]?.replaceAll('|', '\\|');

if (process.env.ZEROFORCE_REGENERATE === '1') {
  const meanings = new Map(rows().map(([name = '', meaning = '']) => [name, meaning]));
  const table = Object.keys(FAILURES).map(
    (name) => `| \`${name}\` | ${meanings.get(name) ?? ''} | ${remedyOf(name)} |`,
  );
  const document = readFileSync(DOCUMENT, 'utf8');
  writeFileSync(
    DOCUMENT,
    document.replace(/(\| --- \| --- \| --- \|\n)[\s\S]*?(?=\n\n|$)/, (_, head) => `${head}${table.join('\n')}\n`),
  );
}

t.test('docs/failures.md has every failure with its remedy, in the order of the catalogue, and no other', async (t) => {
  t.strictSame(
    rows().map(([name, , remedy]) => [name, remedy]),
    Object.keys(FAILURES).map((name) => [name, remedyOf(name)]),
  );
});

t.test('docs/failures.md says in words what each failure means', async (t) => {
  for (const [name = '', meaning = ''] of rows()) t.match(meaning, /^\w.{15,}[^.]$/, name);
});

t.test('every failure of the catalogue is used somewhere', async (t) => {
  const src = join(root, 'src');
  const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
  const code = files
    .filter((file) => file !== 'support/failures.ts')
    .map((file) => readFileSync(join(src, file), 'utf8'))
    .join('\n');
  const unused = Object.keys(FAILURES).filter((name) => !code.includes(`'${name}'`));
  t.strictSame(unused, []);
});

t.test('a failure has its name, its sentence, its cause and its remedy', async (t) => {
  const cause = new Error('why');
  const failure = new Failure('http.port-in-use', 'port 5000 is taken', { cause });
  t.match(failure, { name: 'Failure', code: 'http.port-in-use', message: 'port 5000 is taken', cause });
  t.equal(failure.remedy, FAILURES['http.port-in-use']);
});

t.test('a failure stays what it is, and anything else becomes one', async (t) => {
  const failure = new Failure('key.invalid', 'no');
  t.equal(asFailure(failure, 'state.unwritable'), failure);
  const error = new Error('broken');
  t.match(asFailure(error), { code: 'internal.unexpected', message: 'broken', cause: error });
  t.match(asFailure(error, 'state.unwritable'), { code: 'state.unwritable', message: 'broken' });
  t.match(asFailure('text'), { code: 'internal.unexpected', message: 'text' });
  t.match(asFailure(undefined), { message: 'undefined' });
});

t.test('the code of a system error is read from system errors only', async (t) => {
  t.equal(systemCode(Object.assign(new Error('x'), { code: 'ENOENT' })), 'ENOENT');
  for (const other of [
    new Error('x'),
    Object.assign(new Error('x'), { code: 7 }),
    { code: 'ENOENT' },
    null,
    'ENOENT',
  ]) {
    t.equal(systemCode(other), null);
  }
});
