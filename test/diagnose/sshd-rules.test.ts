import fc from 'fast-check';
import t from 'tap';
import type { Listener, RunningProgram } from '../../src/diagnose/probes/sockets.ts';
import { type Candidate, judgeAccess } from '../../src/diagnose/sshd/access.ts';
import { isPlausible, readAccounts } from '../../src/diagnose/sshd/accounts.ts';
import { authorizedKeys, forwardingOf, isAllowedFrom } from '../../src/diagnose/sshd/authorized-keys.ts';
import { parseSshdCommand } from '../../src/diagnose/sshd/command-line.ts';
import { judgeCredentials, keyFilePaths } from '../../src/diagnose/sshd/credentials.ts';
import { EffectiveConfig } from '../../src/diagnose/sshd/effective.ts';
import { judgeForwarding } from '../../src/diagnose/sshd/forwarding.ts';
import { understand } from '../../src/diagnose/sshd/greeting.ts';
import { addressInList, matchesPattern, userMatches } from '../../src/diagnose/sshd/patterns.ts';
import { judgePenalties } from '../../src/diagnose/sshd/penalties.ts';
import { maintenanceServer, pairedServer, type View } from '../../src/diagnose/sshd/servers.ts';
import { brokenProgram, configFault, opensshVersion } from '../../src/diagnose/sshd/test-output.ts';
import { listeningSockets, reaches } from '../../src/support/socket-table.ts';

const TUNNEL = { address: '127.0.0.77', host: '127.0.0.77' };
const KEY = 'AAAAC3NzaC1lZDI1NTE5AAAAIBYlpRzoXEKKNtGtUyFJ5rYeMAJpw8VzLIHcNDWLxRJr';

t.test('the table of sockets: addresses of both families, the listening ones alone', async (t) => {
  const table = [
    '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode',
    '   0: 0A4DA8C0:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0',
    '   1: 0100007F:0016 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4 30 10 -1',
    '   2: 0000000000000000FFFF00000100007F:1F47 0:0 0A 0:0 00:0 0  1000        0 4713 1 0 100 0 0 10 0',
    '   3: 00000000000000000000000000000000:0016 0:0 0A 0:0 00:0 0     0        0 4714 1 0 100 0 0 10 0',
    '   4: 000080FE00000000FF005450A1B2C3FE:0050 0:0 0A 0:0 00:0 0     0        0 4715 1 0 100 0 0 10 0',
  ].join('\n');
  t.strictSame(
    listeningSockets(table, true).map(({ address, port, uid, inode }) => [address, port, uid, inode]),
    [
      ['192.168.77.10', 22, 0, 4711],
      ['::ffff:127.0.0.1', 8007, 1000, 4713],
      ['::', 22, 0, 4714],
      ['fe80::5054:ff:fec3:b2a1', 80, 0, 4715],
    ],
  );
  const wildcard = { address: '::', port: 22 };
  t.equal(reaches({ ...wildcard, takesIpv4: true }, '127.0.0.1', 22), true);
  t.equal(reaches({ ...wildcard, takesIpv4: false }, '127.0.0.1', 22), false);
  t.equal(reaches({ ...wildcard, takesIpv4: null }, '127.0.0.1', 22), null);
  t.equal(reaches({ ...wildcard, takesIpv4: true }, '127.0.0.1', 23), false);
  t.equal(reaches({ address: '::ffff:127.0.0.1', port: 22, takesIpv4: null }, '127.0.0.1', 22), true);
});

t.test('how an sshd was started', async (t) => {
  const title = 'sshd: /usr/sbin/sshd -D -ef /etc/ssh/other -o PidFile /run/x -p2222 [listener] 3 of 10-100 startups';
  t.match(parseSshdCommand([title]), {
    isListener: true,
    configFile: '/etc/ssh/other',
    overrides: ['-o', 'PidFile /run/x', '-p', '2222'],
    startups: { now: 3, begin: 10, full: 100 },
    isWhole: true,
  });
  t.match(parseSshdCommand(['/usr/sbin/sshd', '-D']), { isListener: true, configFile: null, startups: null });
  for (const words of [
    ['sshd: pi@pts/0'],
    ['sshd: [accepted]'],
    ['sshd: root [priv]'],
    ['/usr/sbin/sshd', '-D', '-R'],
  ]) {
    t.notOk(parseSshdCommand(words).isListener, words.join(' '));
  }
  t.notOk(parseSshdCommand(['sshd', '-i']).isListener, 'of inetd');
  const cut = parseSshdCommand(['sshd: /usr/sbin/sshd -D -f /opt/beamer/beamer-ss']);
  t.match(cut, { isListener: true, isWhole: false, startups: null }, 'a title that was cut');
  t.not(cut.configFile, '/opt/beamer/beamer-ss');
});

t.test('which server serves whom', async (t) => {
  const program = (pid: number, name: string): RunningProgram => ({
    ...{ pid, name, path: `/usr/sbin/${name}`, words: [name], state: 'S', parentPid: 1, startTicks: 0 },
  });
  const socket = (address: string, port: number, ...owners: RunningProgram[]): Listener => ({
    ...{ address, port, uid: 0, inode: port, owners, takesIpv4: address === '::' },
  });
  const view = (sockets: Listener[], change: Partial<View> = {}): View => {
    const daemons = sockets
      .flatMap((each) => each.owners)
      .filter(({ name }) => name === 'sshd')
      .map((each) => ({
        program: each,
        command: parseSshdCommand([
          '/usr/sbin/sshd',
          ...(each.pid === 8007 ? ['-f', '/opt/beamer/beamer-ssh-tunnel'] : []),
        ]),
        listeners: sockets.filter(({ owners }) => owners.includes(each)),
      }));
    const config: View['config'] = { services: { ssh: 22 }, ssh: null, transport: 'meeting', tunnel: { port: 8007 } };
    const options = { sshPort: null, sshdConfig: null };
    return {
      config,
      options,
      sockets,
      daemons,
      ownAddresses: ['192.168.1.4'],
      dedicatedConfig: '/opt/beamer/beamer-ssh-tunnel',
      ...change,
    };
  };
  const systemd = program(1, 'systemd');
  const activated = maintenanceServer(view([socket('::', 22, systemd)]));
  t.match(
    activated,
    { kind: 'activated', daemon: null, sources: ['127.0.0.77', '127.0.0.1'] },
    'ssh.socket of systemd',
  );
  t.equal(activated.atTarget.length, 1);
  const inetd = program(99, 'inetd');
  t.equal(maintenanceServer(view([socket('0.0.0.0', 22, inetd)])).kind, 'activated');
  const sshd = program(500, 'sshd');
  const handedOn = maintenanceServer(view([socket('::', 22, systemd, sshd)]));
  t.match(handedOn, { kind: 'openssh' }, 'systemd has handed its socket on');

  const dedicated = program(8007, 'sshd');
  const both = [socket('0.0.0.0', 22, sshd), socket('0.0.0.0', 8007, dedicated)];
  t.equal(maintenanceServer(view(both)).daemon?.program.pid, 500);
  t.match(pairedServer(view(both)), {
    daemon: { program: { pid: 8007 } },
    configFile: '/opt/beamer/beamer-ssh-tunnel',
    target: { host: '192.168.1.4' },
  });
  t.match(maintenanceServer(view([socket('0.0.0.0', 8007, dedicated)])), { kind: 'absent', daemon: null });
  t.ok(maintenanceServer(view([socket('0.0.0.0', 22, sshd), socket('0.0.0.0', 8007, sshd)])).servesPaired);

  const web = program(600, 'node');
  const misled = maintenanceServer(view([socket('0.0.0.0', 22, web), socket('0.0.0.0', 2222, sshd)]));
  t.equal(misled.lookAt.port, 2222, 'the port belongs to somebody else: the tunnel is wrong, and sshd is looked at');
  const given = view([socket('0.0.0.0', 22, web), socket('0.0.0.0', 2222, sshd)], {
    options: { sshPort: 22, sshdConfig: null },
  });
  t.equal(maintenanceServer(given).lookAt.port, 22, 'unless somebody has said that port');
  const unknown = maintenanceServer(view([{ ...socket('::', 22), takesIpv4: null }]));
  t.match(unknown, { kind: 'foreign' }, 'to somebody who may not see who listens');
});

t.test('what a port says, understood', async (t) => {
  const said = (bytes: string | Buffer, end: 'closed' | 'reset' | 'waiting' = 'closed') =>
    understand({ kind: 'opened', bytes: Buffer.from(bytes as string, 'latin1'), end });
  t.match(said('SSH-2.0-OpenSSH_9.2p1 Debian\r\n', 'waiting'), { kind: 'ssh', banner: 'SSH-2.0-OpenSSH_9.2p1 Debian' });
  t.match(said('Welcome\r\nSSH-2.0-x\r\n'), { kind: 'ssh', before: 'Welcome' });
  t.match(said(''), { kind: 'closed', how: 'closed' });
  t.match(said('', 'reset'), { kind: 'closed', how: 'reset' });
  t.match(said('', 'waiting'), { kind: 'silent' });
  t.match(said('Exceeded MaxStartups\r\n'), { kind: 'full' });
  t.match(said('Not allowed at this time\r\n'), { kind: 'punished' });
  const services: Record<string, RegExp> = {
    'HTTP/1.1 400 Bad Request\r\n': /HTTP/,
    '<!DOCTYPE HTML PUBLIC>': /HTTP/,
    '\u0015\u0003\u0001\u0000\u0002\u0002\u0046': /TLS/,
    '220 beamer ESMTP Postfix\r\n': /SMTP/,
    '220 (vsFTPd 3.0.3)\r\n': /FTP/,
    'RFB 003.008\n': /VNC/,
    'RTSP/1.0 400 Bad Request\r\n': /RTSP/,
    '\u00ff\u00fd\u0018': /telnet/,
    'what\n': /another service/,
  };
  for (const [text, service] of Object.entries(services)) t.match(said(text), { kind: 'other', service }, text);
});

t.test('what sshd -t complains of', async (t) => {
  const kinds: Record<string, [string, string]> = {
    'Missing privilege separation directory: /run/sshd': ['no-folder', '/run/sshd'],
    '/run/sshd must be owned by root and not group or world-writable.': ['bad-folder', '/run/sshd'],
    'Privilege separation user sshd does not exist': ['no-user', 'sshd'],
    '/etc/ssh/c: line 3: Bad configuration option: FooBar\r\n/etc/ssh/c: terminating, 1 bad configuration options': [
      'unknown-option',
      'FooBar',
    ],
    '/etc/ssh/c line 2: Badly formatted port number.': ['bad-line', '/etc/ssh/c'],
    "/etc/ssh/c line 3: Directive 'Port' is not allowed within a Match block": ['bad-line', '/etc/ssh/c'],
    "Permissions 0644 for '/etc/ssh/k' are too open.\nUnable to load host key: /etc/ssh/k\nsshd: no hostkeys available -- exiting.":
      ['open-host-key', '/etc/ssh/k'],
    'Unable to load host key: /etc/ssh/k\nsshd: no hostkeys available -- exiting.': ['no-host-key', '/etc/ssh/k'],
    '/etc/ssh/c: No such file or directory': ['missing-file', '/etc/ssh/c'],
    '/etc/ssh/c: Permission denied': ['unreadable', '/etc/ssh/c'],
    'something new': ['other', ''],
  };
  for (const [text, [kind, thing]] of Object.entries(kinds)) t.match(configFault(text), { kind, thing }, text);
  t.equal(
    configFault('Warning: old\n/etc/ssh/c line 2: Deprecated option UsePrivilegeSeparation\nnew fault').kind,
    'other',
  );
  t.strictSame(opensshVersion('OpenSSH_10.5p1, OpenSSL 3.5.1'), { major: 10, minor: 5 });
  t.match(brokenProgram('sshd: error while loading shared libraries: libcrypto.so.3: cannot open'), /libcrypto/);
  t.match(brokenProgram('Error loading shared library libz.so.1: No such file (needed by /usr/sbin/sshd)'), /libz/);
  t.equal(brokenProgram('OpenSSH_9.2'), null);
});

t.test('names and addresses are compared as OpenSSH does', async (t) => {
  t.ok(matchesPattern('technician', 'tech*'));
  t.ok(matchesPattern('pi1', 'pi?'));
  t.notOk(matchesPattern('pi', 'pi?'));
  t.notOk(matchesPattern('Pi', 'pi'), 'the case counts');
  t.ok(matchesPattern('aXbXc', 'a*b*c'));
  t.notOk(matchesPattern('a'.repeat(3000), `${'*a'.repeat(500)}*b`), 'in bounded time');
  t.ok(userMatches('root', TUNNEL, 'root@127.0.0.*'));
  t.ok(userMatches('root', TUNNEL, 'r*@127.0.0.0/8'));
  t.notOk(userMatches('root', TUNNEL, 'root@192.168.0.0/16'));
  t.notOk(userMatches('root', TUNNEL, 'root@!127.0.0.77,127.0.0.0/8'), 'what is denied decides');
  t.equal(addressInList('127.0.0.77', '127.0.0.0/8,!127.0.0.77'), 'denied');
  t.equal(addressInList('127.0.0.77', '::1,127.0.0.77'), 'yes');
  t.equal(addressInList('128.0.0.1', '127.0.0.0/8'), 'no');
});

const [root, technician, locked] = readAccounts(
  'root:x:0:0:root:/root:/bin/sh\ntechnician:x:1500:1500::/home/technician:/bin/sh\nlocked:x:1501:1501::/home/l:/bin/sh\n' +
    'bin:x:2:2::/bin:/usr/sbin/nologin\nnobody:x:65534:65534::/:/bin/sh\n# no line\n',
  'root:x:0:\nwheel:x:10:technician,other\ntechnician:x:1500:\n',
  'root:*:19000:0:99999:7:::\ntechnician:$6$a$b:19000:0:99999:7::19999:\nlocked:!$6$a$b:19000::::::\n',
);
if (root === undefined || technician === undefined || locked === undefined) throw new Error('three users');

t.test('the users of the machine', async (t) => {
  t.match(root, { uid: 0, password: { kind: 'none', expiresDay: null } });
  t.match(technician, {
    groups: ['wheel', 'technician'],
    gids: [1500, 10, 1500],
    password: { kind: 'usable', expiresDay: 19_999 },
  });
  t.equal(locked.password?.kind, 'locked');
  const all = readAccounts(
    'bin:x:2:2::/bin:/usr/sbin/nologin\nnobody:x:65534:65534::/:/bin/sh\npi::1000:1000::/:',
    '',
    null,
  );
  t.strictSame(
    all.map((account) => isPlausible(account)),
    [false, false, true],
  );
  t.strictSame(
    all.map(({ password }) => password?.kind ?? null),
    [null, null, 'empty'],
    'without shadow nothing is known of an x',
  );
});

t.test('who is let in, in the order of sshd', async (t) => {
  const base = 'usepam no\npermitrootlogin without-password\npubkeyauthentication yes\n';
  const judge = (lines: string, account = technician, change: Partial<Candidate> = {}) =>
    judgeAccess(
      { account, shell: 'fine', nologin: null, today: 19_500, ...change },
      new EffectiveConfig(`${lines}\n${base}`),
      TUNNEL,
    );
  const reason = (...args: Parameters<typeof judge>) => {
    const access = judge(...args);
    return access.kind === 'refused' ? access.reason : access.kind;
  };
  t.equal(reason(''), 'allowed');
  t.equal(reason('allowusers technician\nallowusers other'), 'allowed');
  t.equal(reason('allowusers other'), 'allowUsers');
  t.equal(reason('denyusers *\nallowusers technician'), 'denyUsers', 'DenyUsers comes first');
  t.equal(reason('allowgroups wheel'), 'allowed');
  t.equal(reason('allowgroups adm'), 'allowGroups');
  t.equal(reason('allowgroups *\ndenygroups wh*'), 'denyGroups');
  t.equal(reason('', locked), 'locked');
  t.equal(reason('usepam yes', locked), 'allowed', 'PAM lets a locked account in with its key');
  t.equal(reason('', technician, { today: 20_000 }), 'expired');
  t.equal(reason('', technician, { today: null }), 'allowed', 'no clock, no verdict');
  t.equal(reason('', technician, { shell: 'missing' }), 'shellMissing');
  t.equal(reason('chrootdirectory /srv', technician, { shell: 'missing' }), 'allowed');
  t.equal(reason('', technician, { nologin: '/etc/nologin' }), 'nologin');
  t.equal(reason('', root, { nologin: '/etc/nologin' }), 'allowed');
  t.equal(reason('permitrootlogin no', root), 'rootDenied');
  t.equal(reason('permitrootlogin no'), 'allowed');
  t.equal(reason('authenticationmethods publickey,password'), 'noMethod', 'one of the two is switched off');
  t.equal(reason('', { ...technician, password: null }), 'unknown');
});

t.test('keys, their options, and where they are looked for', async (t) => {
  const text = [
    '# a comment',
    `ssh-ed25519 ${KEY} a b`,
    `restrict,from="10.0.0.0/8,!10.1.1.1",command="echo \\"a, b\\"" ssh-ed25519 ${KEY}`,
    `permitopen="localhost:3240",permitopen="localhost:5000",port-forwarding\tssh-ed25519 ${KEY}`,
    'ssh-ed25519 AAAAnonsense',
    `ssh-rsa ${KEY}`,
  ].join('\n');
  const keys = authorizedKeys(text);
  t.equal(keys.length, 3, 'a key of another type than it says is none');
  const [plain, restricted, listed] = keys;
  if (plain === undefined || restricted === undefined || listed === undefined) return;
  t.strictSame(restricted.options, [
    { name: 'restrict', value: null },
    { name: 'from', value: '10.0.0.0/8,!10.1.1.1' },
    { name: 'command', value: 'echo "a, b"' },
  ]);
  t.ok(isAllowedFrom(plain, TUNNEL));
  t.notOk(isAllowedFrom(restricted, TUNNEL));
  t.ok(isAllowedFrom(restricted, { address: '10.2.2.2', host: '10.2.2.2' }));
  t.strictSame(forwardingOf(plain), { allowed: true, permitOpen: null });
  t.strictSame(forwardingOf(restricted), { allowed: false, permitOpen: null });
  t.strictSame(forwardingOf(listed), { allowed: true, permitOpen: ['localhost:3240', 'localhost:5000'] });
  const config = new EffectiveConfig('authorizedkeysfile .ssh/authorized_keys /etc/k/%u %h/%%x none');
  t.strictSame(keyFilePaths(config, technician), [
    '/home/technician/.ssh/authorized_keys',
    '/etc/k/technician',
    '/home/technician/%x',
  ]);
});

t.test('whatever options a key has, they are read as they were written, and the key is found', async () => {
  const option = fc.record({
    name: fc.stringMatching(/^[a-z][a-z-]{0,12}$/),
    value: fc.option(fc.stringMatching(/^(?:[a-z ,=!*:.'#-]|"|\\\\[a-z])*$/)),
  });
  const written = ({ name, value }: { name: string; value: string | null }) =>
    value === null ? name : `${name}="${value.replaceAll('"', '\\"')}"`;
  fc.assert(
    fc.property(fc.array(option, { minLength: 1, maxLength: 5 }), (options) => {
      const line = `${options.map(written).join(',')} ssh-ed25519 ${KEY}`;
      const read = authorizedKeys(line).map(({ key, options }) => [key, options.map(written)]);
      return JSON.stringify(read) === JSON.stringify([[KEY, options.map(written)]]);
    }),
  );
});

t.test('whether somebody has what sshd asks for', async (t) => {
  const all = 'pubkeyauthentication yes\npasswordauthentication yes\npermitrootlogin without-password\nusepam no\n';
  const keys = authorizedKeys(`ssh-ed25519 ${KEY}`);
  const judge = (lines: string, account = technician, has = true) =>
    judgeCredentials(new EffectiveConfig(`${lines}\n${all}`), account, TUNNEL, [
      { path: '/k', state: has ? { kind: 'read', keys } : { kind: 'missing' } },
    ]);
  t.match(judge(''), { total: 'yes', key: 'yes', password: 'yes' });
  t.match(judge('', technician, false), { total: 'yes', key: 'no' }, 'the password is enough');
  t.match(judge('authenticationmethods publickey', technician, false), { total: 'no' });
  t.match(judge('authenticationmethods publickey,password', technician, false), { total: 'no' }, 'both are asked for');
  t.match(judge('authenticationmethods publickey,password'), { total: 'yes' });
  t.match(judge('', root, false), { total: 'no', password: 'no' }, 'root needs a key');
  const withPassword = { ...root, password: { kind: 'usable', expiresDay: null } } as const;
  t.match(judge('', withPassword, false), { total: 'no' }, 'also where it has a password');
  t.match(judge('permitrootlogin yes', withPassword, false), { total: 'yes' });
  t.match(judge('', root), { total: 'yes' });
  t.match(judge('permitrootlogin forced-commands-only', root), { total: 'no', uncommanded: [{}] });
  t.match(judge('passwordauthentication no\nauthorizedkeyscommand /bin/keys', technician, false), { total: 'maybe' });
  t.match(judge('passwordauthentication no\ntrustedusercakeys /etc/ca', technician, false), { total: 'maybe' });
  t.match(judge('', locked, false), { total: 'no' });
  t.match(judge('usepam yes', locked, false), { total: 'maybe' }, 'PAM may know another password');
});

t.test('forwarding: both lists apply, and names are text', async (t) => {
  const judge = (lines: string, permitOpen: string[] | null = null, allowed = true) =>
    judgeForwarding(new EffectiveConfig(lines), { allowed, permitOpen }, 'localhost', [3240])?.reason ?? null;
  t.equal(judge('allowtcpforwarding yes\npermitopen any'), null);
  t.equal(judge('allowtcpforwarding local\npermitopen localhost:3240 127.0.0.1:3240'), null);
  t.equal(judge('allowtcpforwarding yes\npermitopen *:3240'), null);
  t.equal(judge('allowtcpforwarding yes\npermitopen localhost:*'), null);
  t.equal(judge('allowtcpforwarding remote'), 'off');
  t.equal(judge('disableforwarding yes\nallowtcpforwarding yes'), 'off');
  t.equal(judge('allowtcpforwarding yes\npermitopen none'), 'notListed');
  t.equal(judge('allowtcpforwarding yes\npermitopen 127.0.0.1:3240'), 'otherName');
  t.equal(judge('allowtcpforwarding yes', ['127.0.0.1:3240']), 'otherName');
  t.equal(judge('allowtcpforwarding yes', ['localhost:22']), 'notListed');
  t.equal(judge('allowtcpforwarding yes', null, false), 'keyOff');
});

t.test('PerSourcePenalties, in the words of OpenSSH 9.8 and 10, which are not on this machine', async (t) => {
  const on =
    'PerSourcePenalties crash:90.000000 authfail:5.000000 noauth:1.000000 invaliduser:5.000000 grace-exceeded:10.000000 refuseconnection:10.000000 max:600.000000 min:15.000000 max-sources4:65536 max-sources6:65536 overflow:permissive overflow6:permissive';
  const kind = (text: string, version = { major: 10, minor: 5 }) =>
    judgePenalties(version, new EffectiveConfig(text), '127.0.0.77').kind;
  t.equal(kind(`${on}\npersourcepenaltyexemptlist none`), 'threatened');
  t.equal(kind(`persourcepenaltyexemptlist 192.168.0.0/16\n${on}`), 'threatened');
  t.equal(kind(`${on}\npersourcepenaltyexemptlist 192.168.0.0/16,127.0.0.0/8`), 'exempt');
  t.equal(kind(`${on}\npersourcepenaltyexemptlist 127.0.0.1`), 'threatened', 'the tunnel has an address of its own');
  t.equal(kind(`${on}\npersourcepenaltyexemptlist 127.0.0.0/8,!127.0.0.77`), 'threatened', 'it is left out');
  t.equal(kind('PerSourcePenalties no\npersourcepenaltyexemptlist none'), 'none');
  t.equal(kind('port 22', { major: 9, minor: 2 }), 'none');
});
