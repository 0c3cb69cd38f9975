import t from 'tap';
import { createLog, LOG_LEVELS } from '../../src/support/log.ts';
import { testLog } from '../support/test-log.ts';

t.test('a line is JSON with the level in words, the time in UTC, the facts and the sentence', async (t) => {
  const { log, lines } = testLog();
  log.warn({ port: 5000 }, 'the port is in use');
  t.strictSame(Object.keys(lines[0] ?? {}), ['level', 'time', 'port', 'msg']);
  t.match(lines[0], {
    level: 'warn',
    time: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/,
    port: 5000,
    msg: 'the port is in use',
  });
});

t.test('each level writes what is as important, and silent nothing', async (t) => {
  const names = LOG_LEVELS.filter((level) => level !== 'silent');
  for (const [index, level] of LOG_LEVELS.entries()) {
    const written: string[] = [];
    const log = createLog(level, { write: (text) => void written.push((JSON.parse(text) as { level: string }).level) });
    for (const name of names) log[name]('x');
    t.strictSame(written, names.slice(index), level);
  }
});

t.test('what stands under a secret name is never written, also one level down', async (t) => {
  const { log, lines } = testLog();
  const secrets = { token: 'hush', password: 'hush', pin: 'hush', authorization: 'hush', privateKey: 'hush' };
  log.info({ ...secrets, identity: { ...secrets, deviceKey: 'shown' } }, 'hello');
  t.notMatch(JSON.stringify(lines), 'hush');
  t.match(lines[0], { token: '[secret]', identity: { token: '[secret]', deviceKey: 'shown' } });
});

t.test('an error is written with its cause, on one line', async (t) => {
  const written: string[] = [];
  const log = createLog('info', { write: (text) => void written.push(text) });
  log.error({ err: new Error('outer\nline', { cause: new Error('inner') }) }, 'failed');
  t.equal(written.length, 1);
  t.equal(written[0]?.trimEnd().split('\n').length, 1);
  t.match(written[0], /outer\\nline.*inner/);
});
