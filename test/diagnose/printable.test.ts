import t from 'tap';
import { Secret } from '../../src/config/secret.ts';
import type { Config } from '../../src/config/types.ts';
import { printableOutcome, secretsOf } from '../../src/diagnose/printable.ts';
import { describeProgram } from '../../src/diagnose/probes/socket-holders.ts';

const withTokens = (meeting: string | null, ssh: string | null = null, meetingApi: string | null = null) => {
  const part = (token: string | null) => (token === null ? null : { token: new Secret(token) });
  return { meeting: part(meeting), ssh: part(ssh), meetingApi: part(meetingApi) } as unknown as Config;
};
const evidenceOf = (evidence: string, secrets: readonly string[] = []) =>
  printableOutcome({ status: 'ok', summary: '', evidence, remedy: null }, secrets).evidence;

t.test('the tokens of every part are secrets, also as JSON and as a part of an address', async (t) => {
  t.strictSame(secretsOf(withTokens(null)), []);
  t.strictSame(secretsOf(withTokens('token-1', 'token-22', 'token-1')), ['token-22', 'token-1']);
  const secrets = secretsOf(withTokens('a"b /c'));
  for (const text of ['a"b /c', JSON.stringify({ token: 'a"b /c' }), `https://x/?t=${encodeURIComponent('a"b /c')}`]) {
    t.notMatch(evidenceOf(text, secrets), /a.{1,4}b/, text);
  }
});

t.test('a secret that begins as another one is masked whole', async (t) => {
  t.equal(evidenceOf('41e291 and 41e2918', secretsOf(withTokens('41e291', '41e2918'))), '[secret] and [secret]');
});

t.test('a token of three characters is part of many words, and no secret', async (t) => {
  t.equal(evidenceOf('sshd', secretsOf(withTokens('ssh'))), 'sshd');
});

t.test('a secret that the colours of a terminal tear apart is found', async (t) => {
  t.equal(evidenceOf('41\u001b[31me291', secretsOf(withTokens('41e291'))), '[secret]');
});

t.test('evidence keeps its lines, without what a terminal would obey and without empty ones', async (t) => {
  t.equal(evidenceOf('a\tb\r\n\n\u001b]0;title\u0007c\u202e\n'), 'a b\nc');
  t.equal(evidenceOf('\n \n'), null);
});

t.test('what is long is cut, and says so', async (t) => {
  const text = 'x'.repeat(5_000);
  const { summary, evidence, remedy } = printableOutcome(
    { status: 'ok', summary: text, evidence: text, remedy: text },
    [],
  );
  t.equal(summary, `${'x'.repeat(400)}…`);
  t.equal(remedy, `${'x'.repeat(400)}…`);
  t.equal(evidence, `${'x'.repeat(2_000)}…`);
  const lines = evidenceOf('line\n'.repeat(100))?.split('\n');
  t.equal(lines?.length, 40);
  t.equal(lines?.at(-1), 'line…');
  t.equal(evidenceOf('line\n'.repeat(40))?.at(-1), 'e');
});

t.test('a cut through a character of two halves leaves no half', async (t) => {
  t.equal(evidenceOf(`${'x'.repeat(1_999)}😀`), `${'x'.repeat(1_999)}…`);
});

t.test('a program of somebody else is described without its password', async (t) => {
  const described = (...words: string[]) => describeProgram({ pid: 12, name: 'mqtt', words });
  t.equal(described('python3', '-m', 'http.server'), 'python3 -m http.server (process 12)');
  t.equal(described('mqtt', '--password', 'hunter2', '-v'), 'mqtt --password [secret] -v (process 12)');
  t.equal(described('sh', '-c', 'TOKEN=hunter2 exec x'), 'sh -c TOKEN=[secret] exec x (process 12)');
  t.notMatch(described('x'.repeat(60), '--password', 'hunter2'.repeat(9)), /hunter/, 'cut after it was masked');
  t.equal(described(''), 'mqtt (process 12)');
});
