import t from 'tap';
import { CHECKS } from '../../src/diagnose/checks.ts';
import { CHECK_IDS } from '../../src/diagnose/ids.ts';

const findings = CHECKS.flatMap(({ id, findings }) =>
  Object.entries(findings).map(([name, finding]) => ({ name: `${id} ${name}`, ...finding })),
);
const place = (id: (typeof CHECK_IDS)[number]) => CHECK_IDS.indexOf(id);

t.test('every id has one check', async (t) => {
  t.strictSame(CHECKS.map(({ id }) => id).sort(), [...CHECK_IDS].sort());
});

t.test('no check waits for itself, however far', async (t) => {
  const waitsFor = new Map(CHECKS.map(({ id, dependsOn, explainedBy }) => [id, [...dependsOn, ...explainedBy]]));
  for (const { id } of CHECKS) {
    const reached = new Set(waitsFor.get(id));
    for (const each of reached) for (const next of waitsFor.get(each) ?? []) reached.add(next);
    t.notOk(reached.has(id), `${id} waits for ${[...reached].join(', ')}`);
  }
});

t.test('what a check depends on stands before it, so that the first failure is the cause', async (t) => {
  for (const { id, dependsOn } of CHECKS) {
    for (const other of dependsOn) t.ok(place(other) < place(id), `${other} stands before ${id}`);
  }
});

t.test('no check names another one twice', async (t) => {
  for (const { id, dependsOn, explainedBy } of CHECKS) {
    const all = [...dependsOn, ...explainedBy];
    t.equal(new Set(all).size, all.length, id);
  }
});

t.test('every finding can be read: what is seen, what it means, what to do', async (t) => {
  t.ok(findings.length > 0);
  for (const { name, status, symptom, meaning, remedy } of findings) {
    t.match(symptom, /^\S.{9,}\S$/, `${name}: what is seen`);
    t.match(meaning, /^\S.{9,}\S$/, `${name}: what it means`);
    t.notMatch(`${symptom}${meaning}${remedy}`, /\n|\t| {2}/, `${name}: one line each`);
    if (status !== 'unknown' || remedy !== null) t.match(remedy, /^\S.{4,}\S$/, `${name}: what to do`);
  }
});

t.test('every placeholder is well-formed', async (t) => {
  for (const { name, symptom, meaning, remedy } of findings) {
    t.notMatch(symptom, /[{}]/, `${name}: a symptom is seen before anything is known`);
    for (const text of [meaning, remedy ?? '']) {
      t.notMatch(text.replace(/\{[a-z][A-Za-z]*\}/g, ''), /[{}]/, `${name}: ${text}`);
    }
  }
});

t.test('a title says what is in order, in a few words', async (t) => {
  for (const { id, title } of CHECKS) t.match(title, /^\S.{6,68}[^.\s]$/, id);
  t.equal(new Set(CHECKS.map(({ title }) => title)).size, CHECKS.length, 'each has its own');
});
