import * as fc from 'fast-check';
import t from 'tap';
import { parseJson } from '../../src/config/json-text.ts';

const FAULTS: [name: string, text: string, line: number, column: number, expected: RegExp][] = [
  ['nothing', '', 1, 1, /a value/],
  ['blanks only', ' \n\t', 2, 2, /a value/],
  ['a comma at the end', '{\n  "a": 1,\n}', 3, 1, /a key in double quotes/],
  ['a comma at the end of a list', '[1,]', 1, 4, /a value/],
  ['no comma', '{\r\n  "a": 1\r\n  "b": 2\r\n}', 3, 3, /"," or "}"/],
  ['no colon', '{"a" 1}', 1, 6, /":"/],
  ['a key without quotes', '{a: 1}', 1, 2, /a key in double quotes/],
  ['single quotes', "{'a': 1}", 1, 2, /a key in double quotes/],
  ['a text that does not end', '{"a": "hush}', 1, 7, /ends in a double quote/],
  ['a newline in a text', '{"a": "x\ny"}', 1, 7, /ends in a double quote/],
  ['an unknown escape', '{"a": "\\x"}', 1, 7, /known escapes/],
  ['a comment', '{\n// hi\n}', 2, 1, /a key/],
  ['a number with a zero in front', '{"a": 01}', 1, 7, /a value/],
  ['NaN', '{"a": NaN}', 1, 7, /a value/],
  ['a word that goes on', '{"a": truefalse}', 1, 7, /a value/],
  ['a cut file', '{"a": {"b": 1', 1, 14, /"," or "}"/],
  ['more behind the end', '{} {}', 1, 4, /nothing more/],
  ['a key twice', '{"a": 1,\n "\\u0061": 2}', 2, 2, /does not stand in this object already/],
  ['33 levels', '['.repeat(34), 1, 34, /at most 32 levels/],
  ['60,000 brackets', '['.repeat(60_000), 1, 34, /at most 32 levels/],
];

for (const [name, text, line, column, expected] of FAULTS) {
  t.test(`not JSON: ${name}`, async (t) => {
    t.match(parseJson(text), { fault: { line, column, expected } });
    t.notMatch(JSON.stringify(parseJson(text)), 'hush');
  });
}

t.test('the same key may stand in different objects', async (t) => {
  t.strictSame(parseJson('[{"a":1},{"a":{"a":2}}]'), { value: [{ a: 1 }, { a: { a: 2 } }] });
});

t.test('what JSON.stringify writes is read back, however it is laid out', async () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 5 }), fc.constantFrom('', ' ', '\t', '\r\n'), (value, indent) => {
      const text = `${indent}${JSON.stringify(value, null, 2).replaceAll('\n', `\n${indent}`)}${indent}`;
      const parsed = parseJson(text);
      return 'value' in parsed && JSON.stringify(parsed.value) === JSON.stringify(value);
    }),
    { numRuns: 300 },
  );
});

t.test('a damaged text is refused exactly where JSON.parse refuses it, but for repeated keys', async () => {
  const damage = fc.record({
    at: fc.nat(),
    cut: fc.nat(3),
    put: fc.constantFrom('', '"', '{', ',', '}', ':', '\\', '1', 'e', '\n', '-'),
  });
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 4 }), damage, (value, { at, cut, put }) => {
      const text = JSON.stringify(value, null, 1);
      const start = at % (text.length + 1);
      const damaged = text.slice(0, start) + put + text.slice(start + cut);
      const parsed = parseJson(damaged);
      if ('fault' in parsed && /already/.test(parsed.fault.expected)) return true;
      let good = true;
      try {
        JSON.parse(damaged);
      } catch {
        good = false;
      }
      return 'value' in parsed === good;
    }),
    { numRuns: 1000 },
  );
});
