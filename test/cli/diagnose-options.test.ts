import { resolve } from 'node:path';
import t from 'tap';
import { type DiagnoseCommandOptions, parseRequest } from '../../src/cli/diagnose-options.ts';
import { DEFAULT_OPTIONS } from '../../src/diagnose/facts.ts';
import { CHECK_IDS } from '../../src/diagnose/ids.ts';

const parsed = (typed: Partial<DiagnoseCommandOptions>) =>
  parseRequest({ network: true, ...typed }, (sentence) => {
    throw new Error(sentence);
  });

t.test('without options everything is looked at, and nothing harms a session', async (t) => {
  t.strictSame(parsed({}), { options: DEFAULT_OPTIONS, only: null, json: false, watch: false, bundle: null });
});

t.test('every option reaches the checks', async (t) => {
  const { options, json, watch, bundle } = parsed({
    ...{ sshdConfig: 'sshd_config', sshPort: '2222', user: 'device', publicPort: 'meeting.example:9063', dial: true },
    ...{ json: true, watch: true },
  });
  t.strictSame(options, {
    sshdConfig: resolve('sshd_config'),
    sshPort: 2222,
    user: 'device',
    publicAddress: { host: 'meeting.example', port: 9063 },
    dial: 'always',
    network: true,
  });
  t.strictSame([json, watch, bundle], [true, true, null]);
  t.equal(parsed({ network: false }).options.network, false);
  t.equal(parsed({ bundle: '/tmp/x.tar.gz' }).bundle, '/tmp/x.tar.gz');
});

for (const [value, address] of [
  ['192.0.2.7:22', { host: '192.0.2.7', port: 22 }],
  ['[2001:db8::1]:9063', { host: '2001:db8::1', port: 9063 }],
] as const) {
  t.test(`--public-port ${value}`, async (t) =>
    t.strictSame(parsed({ publicPort: value }).options.publicAddress, address),
  );
}

t.test('--only takes ids and groups of them, each once, in the order of the checks', async (t) => {
  t.strictSame(parsed({ only: 'sshd.users, sshd.banner,sshd.users' }).only, ['sshd.banner', 'sshd.users']);
  const proxy = CHECK_IDS.filter((id) => id.startsWith('proxy.'));
  t.ok(proxy.length > 2);
  t.strictSame(parsed({ only: 'proxy.*,proxy.tls' }).only, proxy);
});

for (const user of ['root', '_sshd', 'jean-luc', 'a.b', 'DOM\\user', 'user@domain', 'machine$']) {
  t.test(`--user ${user}`, async (t) => t.equal(parsed({ user }).options.user, user));
}

const wrong: [Partial<DiagnoseCommandOptions>, RegExp][] = [
  [{ only: 'sshd.baner' }, /'--only' cannot be "sshd.baner"; allowed: ids of checks, .*; did you mean sshd.banner\?/],
  [{ only: 'proxi.*' }, /did you mean proxy\.\*\?/],
  [{ only: 'sshd.banner,nonsense' }, /"nonsense"; .*listed by: tunnel-agent diagnose --help/],
  ...['', '*', 'proxy', 'pro*', 'proxy.t*', '.*', 'sshd.banner,', 'constructor'].map(
    (only): [Partial<DiagnoseCommandOptions>, RegExp] => [{ only }, /'--only' cannot be/],
  ),
  ...['', '-root', 'a b', 'root,addr=1.2.3.4', 'a:b', 'a/b', 'a\nb', 'x'.repeat(65)].map(
    (user): [Partial<DiagnoseCommandOptions>, RegExp] => [{ user }, /'--user' cannot be .*allowed: the name of a user/],
  ),
  ...['0', '65536', '-1', '1.5', '0x16', ' 22', '22 ', '', '1e3', 'ssh', '99999999999'].map(
    (sshPort): [Partial<DiagnoseCommandOptions>, RegExp] => [{ sshPort }, /'--ssh-port' .*number from 1 to 65535/],
  ),
  ...['', ':22', 'host:', 'host:x', 'host:0', 'ho st:22', '[host]:22', '2001:db8::1:22', `${'x'.repeat(254)}:22`].map(
    (publicPort): [Partial<DiagnoseCommandOptions>, RegExp] => [{ publicPort }, /'--public-port' .*HOST:PORT/],
  ),
  [{ sshdConfig: '' }, /'--sshd-config' cannot be ""; allowed: the path of a file/],
  [{ bundle: '' }, /'--bundle' .*the path of a file/],
  [{ watch: true, bundle: 'x' }, /'--watch' cannot be used with '--bundle': a bundle is of one report/],
  [{ dial: true, network: false }, /'--dial' cannot be used with '--no-network'/],
  [{ publicPort: 'x:1', network: false }, /'--public-port' cannot be used with '--no-network'/],
];
for (const [typed, complaint] of wrong) {
  t.test(`${JSON.stringify(typed)} is refused`, async (t) => t.throws(() => parsed(typed), complaint));
}
