import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { readHostKeys } from '../../src/meeting/answers.ts';
import { linesAbout, replaceHostKeys } from '../../src/meeting/known-hosts.ts';
import { freshKeyLine, freshRsaKeyLine } from '../support/public-keys.ts';
import { requires } from '../support/requires.ts';

const key = (make = freshKeyLine) => make().split(' ').slice(0, 2).join(' ');
const HOSTS = [
  { host: 'meeting.example', ports: [443, 2222] },
  { host: 'proxy.example', ports: [9001, 2222] },
];
const [K1, K2, K3, OTHER] = [key(), key(), key(freshRsaKeyLine), key()];

const about = (answer: string) => linesAbout(HOSTS, readHostKeys(answer));
const update = (file: string, answer: string) => replaceHostKeys(file, about(answer));

t.test('only what the server says about its own machines is taken', async (t) => {
  const namesOf = (answer: string) => about(answer).map(({ names }) => names.join());
  t.strictSame(namesOf(`Meeting.Example,203.0.113.7 ${K1}`), ['meeting.example']);
  t.strictSame(namesOf(`[proxy.example]:2222,proxy.example ${K1}`), ['[proxy.example]:2222,proxy.example']);
  for (const foreign of [
    'github.com',
    '*',
    '*.example',
    '!meeting.example',
    'meeting.example.evil',
    'xmeeting.example',
  ]) {
    t.strictSame(namesOf(`${foreign} ${K1}`), [], foreign);
  }
  t.strictSame(namesOf(`meeting.example,meeting.example ${K1}`), ['meeting.example']);
});

t.test('the lines of the server are replaced where they stand, all else stays byte for byte', async (t) => {
  const file = [
    '# my hosts',
    `github.com ${OTHER}`,
    `meeting.example ${K1} old`,
    '',
    `  MEETING.example,[proxy.example]:2222\t${K1}`,
    `@revoked meeting.example ${K1}`,
    `@cert-authority meeting.example ${OTHER}`,
    `*.example ${OTHER}`,
    `# meeting.example ${K1}`,
    'meeting.example',
    'caf\xe9 is no line',
    `gitlab.com ${OTHER}\r`,
    '',
  ].join('\n');
  t.equal(
    update(file, `meeting.example ${K2}\nmeeting.example ${K3}`),
    [
      '# my hosts',
      `github.com ${OTHER}`,
      `meeting.example ${K2}`,
      `meeting.example ${K3}`,
      '',
      `  [proxy.example]:2222\t${K1}`,
      `@revoked meeting.example ${K1}`,
      `@cert-authority meeting.example ${OTHER}`,
      `*.example ${OTHER}`,
      `# meeting.example ${K1}`,
      'meeting.example',
      'caf\xe9 is no line',
      `gitlab.com ${OTHER}\r`,
      '',
    ].join('\n'),
  );
});

t.test('a file that says the same already is left alone, however it says it', async (t) => {
  const answer = `meeting.example ${K1}\nmeeting.example,proxy.example ${K3}`;
  for (const file of [
    update('', answer) ?? '',
    `proxy.example ${K3}\n# between\nmeeting.example,10.0.0.1 ${K1} comment\nMEETING.EXAMPLE ${K3}`,
  ]) {
    t.equal(update(file, answer), null);
  }
  t.not(update(`meeting.example ${K1}\n`, answer), null, 'a key is missing');
  t.not(update(`${update('', answer)}meeting.example ${K2}\n`, answer), null, 'a key too many');
});

t.test('a name that the server says nothing about keeps its keys: it may be another sshd', async (t) => {
  const file = `[meeting.example]:2222 ${K1}\nmeeting.example ${K1}\n`;
  t.equal(update(file, `meeting.example ${K2}`), `[meeting.example]:2222 ${K1}\nmeeting.example ${K2}\n`);
});

t.test('a new line comes to the end, also behind a last line without its end', async (t) => {
  for (const [before, after] of [
    ['', ''],
    ['# x', '# x\n'],
    [`github.com ${OTHER}\n`, `github.com ${OTHER}\n`],
  ]) {
    t.equal(update(before ?? '', `proxy.example ${K1}`), `${after}proxy.example ${K1}\n`);
  }
});

t.test(
  'ssh-keygen finds the new keys and no old ones, in plain and in hashed files',
  requires('ssh-keygen'),
  async (t) => {
    for (const hashed of [false, true]) {
      const file = join(t.testdir(), 'known_hosts');
      const before = [`github.com ${OTHER}`, `meeting.example,gitlab.com ${K1}`, `[proxy.example]:2222 ${K1}`];
      writeFileSync(file, `${before.join('\n')}\n`);
      if (hashed) execFileSync('ssh-keygen', ['-H', '-f', file], { stdio: 'ignore' });
      const text = readFileSync(file, 'latin1');
      if (hashed) t.notMatch(text, /example|github/);
      const answer = `meeting.example ${K2}\n[proxy.example]:2222,proxy.example ${K3}`;
      writeFileSync(file, update(text, answer) ?? 'unchanged');
      t.equal(update(readFileSync(file, 'latin1'), answer), null, 'a second time changes nothing');
      t.strictSame(found(t, file, 'meeting.example'), [K2]);
      t.strictSame(found(t, file, '[proxy.example]:2222'), [K3]);
      t.strictSame(found(t, file, 'proxy.example'), [K3]);
      t.strictSame(found(t, file, 'gitlab.com'), [K1]);
      t.strictSame(found(t, file, 'github.com'), [OTHER]);
    }
  },
);

t.test('an answer with hashed names is understood for our own', requires('ssh-keygen'), async (t) => {
  const file = join(t.testdir(), 'answer');
  writeFileSync(file, `meeting.example ${K1}\n[proxy.example]:2222 ${K2}\ngithub.com ${OTHER}\n`);
  execFileSync('ssh-keygen', ['-H', '-f', file], { stdio: 'ignore' });
  const lines = about(readFileSync(file, 'latin1'));
  t.strictSame(
    lines.map(({ names }) => names),
    [['meeting.example'], ['[proxy.example]:2222']],
  );
});

/** The keys that the real ssh-keygen finds for a name. */
function found(t: Test, file: string, name: string): string[] {
  try {
    const output = execFileSync('ssh-keygen', ['-F', name, '-f', file], { encoding: 'utf8' });
    const lines = output.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    return lines.map((line) => line.split(' ').slice(1, 3).join(' '));
  } catch (error) {
    t.comment(String(error));
    return [];
  }
}
