import t from 'tap';
import { type Access, accessOf } from '../../src/diagnose/access/evaluate.ts';
import { hostNames } from '../../src/diagnose/access/host-names.ts';
import { readAccessFile } from '../../src/diagnose/access/rules.ts';
import { freshKeyLine } from '../support/public-keys.ts';
import { requires } from '../support/requires.ts';
import { until } from '../support/until.ts';
import { expectCause, expectHealthy, machine, NEEDS_MACHINE } from './machine.ts';
import { packets } from './packets.ts';
import { sshMachine } from './ssh-machine.ts';

const NEEDS = requires(...NEEDS_MACHINE);
const HOSTS = '127.0.0.1 localhost raspi\n192.168.77.1 ha.lan ha\n';
/** Stands for a line that is longer than libwrap reads. */
const LONG = '1.2.3.4 '.repeat(256);

/** Who comes, what the two files say, and whether sshd lets them in: what libwrap 7.6.q has been seen to do. */
const DECISIONS: readonly (readonly [from: string, allow: string, deny: string, granted: Access['granted']])[] = [
  ['127.0.0.77', '', '', 'yes'],
  ['127.0.0.77', '', 'sshd: ALL\n', 'no'],
  ['127.0.0.77', '', 'ALL: ALL\n', 'no'],
  ['127.0.0.77', '', 'SSHD: all\n', 'no'],
  ['127.0.0.77', '', 'vsftpd: ALL\n', 'yes'],
  ['127.0.0.77', '', 'in.telnetd, sshd , vsftpd : ALL\n', 'no'],
  ['127.0.0.77', '', 'ALL EXCEPT sshd: ALL\n', 'yes'],
  ['127.0.0.77', '', 'ALL EXCEPT vsftpd: ALL\n', 'no'],
  ['127.0.0.77', '', 'ALL EXCEPT ALL EXCEPT sshd: ALL\n', 'no'],
  ['127.0.0.77', '', 'ss*: ALL\n', 'no'],
  ['127.0.0.77', '', 'sshd@127.0.0.1: ALL\n', 'no'],
  ['127.0.0.77', '', 'sshd@192.168.77.10: ALL\n', 'yes'],
  ['127.0.0.77', 'sshd: 127.\n', 'ALL: ALL\n', 'yes'],
  ['127.0.0.77', 'sshd: 127.0.0.1\n', 'ALL: ALL\n', 'no'],
  ['127.0.0.77', 'sshd: 127.0.0.1, localhost\n', 'ALL: ALL\n', 'no'],
  ['127.0.0.1', 'sshd: localhost\n', 'ALL: ALL\n', 'yes'],
  ['127.0.0.77', 'sshd: LOCAL\n', 'ALL: ALL\n', 'no'],
  ['127.0.0.1', 'sshd: LOCAL\n', 'ALL: ALL\n', 'yes'],
  ['127.0.0.77', 'sshd: KNOWN\n', 'ALL: ALL\n', 'no'],
  ['127.0.0.77', '', 'ALL: UNKNOWN\n', 'maybe'],
  ['127.0.0.77', '', 'ALL: PARANOID\n', 'maybe'],
  ['127.0.0.77', 'sshd: ALL\n', 'ALL: PARANOID\n', 'yes'],
  ['127.0.0.77', '', 'sshd: ALL EXCEPT 127.0.0.0/8\n', 'yes'],
  ['127.0.0.77', '', 'sshd: ALL EXCEPT 192.168.77.\n', 'no'],
  ['127.0.0.77', '', 'sshd: ALL EXCEPT 127. EXCEPT 127.0.0.77\n', 'no'],
  ['127.0.0.77', 'sshd: 127.0.0.0/8\n', 'ALL: ALL\n', 'yes'],
  ['127.0.0.77', 'sshd: 127.0.0.0/255.0.0.0\n', 'ALL: ALL\n', 'yes'],
  ['127.0.0.77', 'sshd: 127.0.0.1/8\n', 'ALL: ALL\n', 'no'], // bits beyond the mask: nobody
  ['127.0.0.77', 'sshd: 0.0.0.0/0\n', 'ALL: ALL\n', 'no'], // as libwrap has it
  ['127.0.0.77', 'sshd: 0.0.0.0/0.0.0.0\n', 'ALL: ALL\n', 'yes'],
  ['127.0.0.77', 'sshd: 127.0.0.*\n', 'ALL: ALL\n', 'yes'],
  ['127.0.0.77', 'sshd: [::1], [fe80::]/10\n', 'ALL: ALL\n', 'no'],
  ['127.0.0.77', 'ALL: [::1] 127.0.0.77\n', 'ALL: ALL\n', 'yes'],
  ['127.0.0.77', 'sshd: ALL: deny\n', '', 'no'],
  ['127.0.0.77', '', 'sshd: ALL: allow\n', 'yes'],
  ['127.0.0.77', '', 'sshd: ALL: severity auth.info: ALLOW\n', 'yes'],
  ['127.0.0.77', '', 'sshd: ALL: spawn (echo %a | mail root) & : allow\n', 'yes'],
  ['127.0.0.77', 'sshd: ALL: twist /bin/echo no\n', '', 'no'],
  ['127.0.0.77', 'sshd: ALL: (echo %a) &\n', '', 'no'], // a command where options belong
  ['127.0.0.77', 'sshd: ALL: allow: keepalive\n', '', 'no'], // must be last
  ['127.0.0.77', 'sshd: ALL: banners /etc/banners\n', 'ALL: ALL\n', 'yes'],
  ['127.0.0.77', 'sshd: ALL: setenv A b\\:c : deny\n', '', 'no'],
  ['127.0.0.77', 'sshd: ALL: aclexec /usr/bin/geo %a\n', 'ALL: ALL\n', 'maybe'],
  ['127.0.0.77', '', 'sshd: root@ALL\n', 'maybe'],
  ['127.0.0.77', '', 'sshd: root@10.\n', 'yes'],
  ['127.0.0.77', '', 'sshd: @trusted\n', 'maybe'],
  ['127.0.0.77', '', 'sshd: \\\n  10. \\\n  127.\n', 'no'],
  ['127.0.0.77', '', '# sshd: ALL\n', 'yes'],
  ['127.0.0.77', '', '# said \\\nsshd: ALL\n', 'yes'], // the comment goes on
  ['127.0.0.77', '', ' # sshd: ALL\n', 'no'], // no comment: the first character counts
  ['127.0.0.77', '', 'sshd ALL\n', 'yes'],
  ['127.0.0.77', '', '# the end is missing', 'no'],
  ['127.0.0.77', '', `ftp: ${LONG}\n`, 'no'],
  ['127.0.0.77', 'sshd: ALL\n', '# the end is missing', 'yes'],
  ['127.0.0.77', 'sshd: ALL', 'ALL: ALL\n', 'no'],
  ['127.0.0.77', 'sshd: ALL', '', 'yes'],
  ['192.168.77.1', '', 'sshd: .lan\n', 'no'],
  ['192.168.77.1', '', 'sshd: ha\n', 'yes'],
  ['192.168.77.2', '', 'sshd: .lan\n', 'maybe'],
  ['192.168.77.2', '', 'sshd: /etc/bad\n', 'no'],
  ['192.168.77.2', '', 'sshd: /etc/none\n', 'yes'],
  ['192.168.77.2', '', 'sshd: /etc/secret\n', 'maybe'],
];

t.test('hosts.allow and hosts.deny decide as libwrap does', async (t) => {
  const nameOf = hostNames(HOSTS);
  const files: Record<string, readonly string[] | null> = { '/etc/bad': ['10.', '192.168.77.2'], '/etc/secret': null };
  const wordsOf = (file: string) => (file in files ? (files[file] ?? null) : []);
  for (const [from, allow, deny, granted] of DECISIONS) {
    const peer = (address: string) => ({ address, name: nameOf(address) });
    const to = from.startsWith('127.') ? '127.0.0.1' : '192.168.77.10';
    const visit = { daemon: 'sshd', client: peer(from), server: peer(to), wordsOf };
    const rules = { allow: readAccessFile('allow', allow), deny: readAccessFile('deny', deny) };
    t.equal(accessOf(rules, visit).granted, granted, `${from}: ${allow} | ${deny}`.slice(0, 100));
  }
});

t.test('which rule it was is told by its line', async (t) => {
  const deny = readAccessFile('/etc/hosts.deny', '# one\nvsftpd: ALL\nsshd: \\\n ALL\nALL: 1.2.3.4\n');
  t.strictSame(
    deny.rules.map(({ line, text }) => `${line} ${text}`),
    ['2 vsftpd: ALL', '3 sshd:  ALL', '5 ALL: 1.2.3.4'],
  );
  t.equal(readAccessFile('x', 'sshd: ALL\n# end').broken?.line, 2);
});

t.test('hosts.deny with the sshd of Debian, which links libwrap', NEEDS, async (t) => {
  const device = await sshMachine(t);
  await device.sshd();
  /** Alone it is quick: what is refused hears nothing for five seconds. */
  const files = async (allow: string, deny: string, args = ['--only', 'hosts.access']) => {
    await device.write('/etc/hosts.allow', allow);
    await device.write('/etc/hosts.deny', deny);
    return device.diagnose(args);
  };

  await t.test('sshd: ALL', async (t) => {
    const found = await files('', '# closed\nsshd: ALL\n', []);
    expectCause(t, found, 'hosts.access', /from 127\.0\.0\.1, because of \/etc\/hosts\.deny line 2: sshd: ALL/);
    t.match(found.check('hosts.access').evidence, /libwrap\.so is linked by \/usr\/sbin\/sshd/);
    const [, line = ''] = /hosts\.allow: (.*)$/.exec(found.check('hosts.access').remedy ?? '') ?? [];
    expectHealthy(t, await files(`${line}\n`, 'sshd: ALL\n', []));
  });

  await t.test('a last line without its end, though it is a comment', async (t) => {
    const found = await files('', '# sshd: 10.\n# end of file', []);
    expectCause(t, found, 'hosts.access', /line 2 of \/etc\/hosts\.deny has no end/);
    const [, command = ''] = /: (echo >> \S+);/.exec(found.check('hosts.access').remedy ?? '') ?? [];
    await device.sh(command);
    expectHealthy(t, await device.diagnose());
  });

  await t.test('ALL: ALL, with exceptions for others', async (t) => {
    expectCause(t, await files('vsftpd: ALL\nsshd: 192.168.77.\n', 'ALL: ALL\n'), 'hosts.access', /ALL: ALL/);
  });

  await t.test('EXCEPT and an option, in hosts.allow', async (t) => {
    expectCause(t, await files('ALL: ALL EXCEPT 192.168.: deny\n', ''), 'hosts.access', /hosts\.allow line 1/);
  });

  await t.test('rules that look like it and keep nobody out', async (t) => {
    for (const [allow, deny] of [
      ['', 'vsftpd: ALL\n'],
      ['sshd: 127.\n', 'ALL: ALL\n'],
      ['', 'ALL EXCEPT sshd: ALL\n'],
      ['', 'sshd: ALL EXCEPT 127.0.0.0/8\n'],
      ['', '#sshd: ALL\n'],
    ] as const) {
      expectHealthy(t, await files(allow, deny));
    }
  });

  await t.test('what depends on a program is not known', async (t) => {
    const { check } = await files('sshd: ALL: aclexec /bin/false\n', '');
    t.match(check('hosts.access'), { status: 'unknown', summary: /hosts\.allow line 1.*aclexec/ });
  });
});

t.test('hosts.deny with a dedicated sshd that only the home network reaches', NEEDS, async (t) => {
  const device = await sshMachine(t);
  await device.sshd();
  await device.sshd('Port 8007\nPidFile none', '/opt/beamer/beamer-ssh-tunnel');
  await device.write('/etc/hosts.deny', 'sshd: 192.168.\n');
  const only = ['--only', 'hosts.access'];
  expectHealthy(t, await device.diagnose(only)); // nobody is paired, and nobody is invited
  await device.write('/root/.ssh/authorized_keys', `${freshKeyLine()}\n`, 0o600);
  await device.write('/var/lib/zeroforce/ever-paired', '');
  expectCause(t, await device.diagnose(only), 'hosts.access', /dedicated sshd refuses everybody.*sshd: 192\.168\./);
  await device.write('/etc/hosts.allow', 'sshd: 192.168.77.200\n');
  expectHealthy(t, await device.diagnose(only)); // the one that may
});

t.test('the decisions of the table are those of the real sshd', NEEDS, async (t) => {
  const device = await machine(t);
  const sshd = await device.sshd('LogLevel DEBUG\nMaxStartups 200');
  const attempt = await packets(t, device.inside, []);
  await device.write('/etc/hosts', HOSTS);
  for (const [from, allow, deny, granted] of DECISIONS) {
    if (!from.startsWith('127.') || granted === 'maybe') continue;
    await device.write('/etc/hosts.allow', allow);
    await device.write('/etc/hosts.deny', deny);
    const before = sshd.log().length;
    let greeting: string | null = null;
    attempt({ client: from, clientPort: 0, server: '127.0.0.1', port: 22 }, 30_000).then((end) => {
      greeting = end;
    });
    // Whoever is refused hears nothing for five seconds; the log says it at once.
    const refused = () => sshd.log().includes('Connection refused by tcp wrapper', before);
    await until('a decision of sshd', () => greeting !== null || refused());
    // What stands in its place with `twist` is no sshd.
    const isLetIn = !refused() && /^greeted by SSH-2\.0/.test(greeting ?? '');
    t.equal(isLetIn ? 'yes' : 'no', granted, `${from}: ${allow} | ${deny}`.slice(0, 100));
  }
});

t.test(
  'hosts.deny says nothing to a server that does not link libwrap',
  requires(...NEEDS_MACHINE, 'dropbear'),
  async (t) => {
    const device = await sshMachine(t);
    await device.write('/etc/hosts.deny', 'ALL: ALL\n');
    await device.start(['dropbear', '-F', '-E', '-R', '-p', '127.0.0.1:22'], null);
    const found = await device.diagnose();
    t.match(found.check('hosts.access'), { status: 'ok', summary: 'sshd does not ask them' });
    t.not(found.report.cause, 'hosts.access');
  },
);
