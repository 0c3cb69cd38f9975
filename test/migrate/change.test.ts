import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { inverse, make } from '../../src/migrate/change.ts';
import type { Change } from '../../src/migrate/model.ts';

const base64 = (text: string) => Buffer.from(text).toString('base64');

t.test('every change is made once, however often, and its inverse gives back what was there', async (t) => {
  const folder = t.testdir({ table: 'one\ntwo\n', S92x: '#!/bin/sh\n' });
  symlinkSync('../unit', join(folder, 'wanted'));
  chmodSync(join(folder, 'table'), 0o640);
  const changes: Change[] = [
    { change: 'unlink', path: join(folder, 'wanted'), target: '../unit' },
    { change: 'link', path: join(folder, 'etc/mask'), target: '/dev/null' },
    { change: 'rename', from: join(folder, 'S92x'), to: join(folder, 'K92x') },
    {
      change: 'text',
      path: join(folder, 'table'),
      before: base64('one\ntwo\n'),
      after: base64('# one\ntwo\n'),
      mode: 0o600,
    },
    { change: 'text', path: join(folder, 'new/config.json'), before: null, after: base64('{}'), mode: 0o600 },
  ];
  for (const change of [...changes, ...changes]) await make(change);
  t.throws(() => lstatSync(join(folder, 'wanted')));
  t.equal(readlinkSync(join(folder, 'etc/mask')), '/dev/null');
  t.equal(readFileSync(join(folder, 'K92x'), 'utf8'), '#!/bin/sh\n');
  t.equal(readFileSync(join(folder, 'table'), 'utf8'), '# one\ntwo\n');
  t.equal(statSync(join(folder, 'table')).mode & 0o777, 0o640, 'with its own mode');
  t.equal(statSync(join(folder, 'new/config.json')).mode & 0o777, 0o600);

  const back = changes.toReversed().map(inverse);
  for (const change of [...back, ...back]) await make(change);
  t.equal(readlinkSync(join(folder, 'wanted')), '../unit');
  t.throws(() => lstatSync(join(folder, 'etc/mask')));
  t.equal(readFileSync(join(folder, 'S92x'), 'utf8'), '#!/bin/sh\n');
  t.equal(readFileSync(join(folder, 'table'), 'utf8'), 'one\ntwo\n');
  t.equal(statSync(join(folder, 'table')).mode & 0o777, 0o640);
  t.throws(() => lstatSync(join(folder, 'new/config.json')));
});

t.test('what somebody has changed meanwhile is left, and named', async (t) => {
  const folder = t.testdir({ table: 'mine\n', S92x: '', K92x: '' });
  symlinkSync('/other', join(folder, 'wanted'));
  mkdirSync(join(folder, 'folder'));
  const text = {
    change: 'text' as const,
    path: join(folder, 'table'),
    before: base64('one'),
    after: base64('two'),
    mode: 0o600,
  };
  await t.rejects(make(text), /table was changed by somebody meanwhile/);
  await t.rejects(make({ change: 'unlink', path: join(folder, 'wanted'), target: '/unit' }), /leads to \/other now/);
  await t.rejects(make({ change: 'rename', from: join(folder, 'S92x'), to: join(folder, 'K92x') }), /is there already/);
  await t.rejects(make({ change: 'rename', from: join(folder, 'a'), to: join(folder, 'b') }), /is there any more/);
  t.equal(readFileSync(join(folder, 'table'), 'utf8'), 'mine\n');
  writeFileSync(join(folder, 'table'), 'one');
  await make(text);
  t.equal(readFileSync(join(folder, 'table'), 'utf8'), 'two');
});
