import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { setupScript } from '../../../src/gateway/api/setup-script.ts';
import { type SetupFacts, sshConfigText } from '../../../src/gateway/api/ssh-files.ts';
import { Failure } from '../../../src/support/failures.ts';
import { run } from '../../support/processes.ts';
import { requires } from '../../support/requires.ts';

const FACTS: SetupFacts = {
  token: 'MZXW6YTBOI2DQMRTGU3TSNZZHA4DMOJUGI2TGNBVGY3TQOJQGEZQ',
  host: 'gateway.example.org',
  port: 2222,
  hostKey: 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO9N5NQ8pXkUQ9JcEtmNTBvX6QH3vXo9cXhbQb3XoKfM',
  forwards: [
    { name: 'ssh', localPort: 22 },
    { name: 'nobody-knows', localPort: null },
    { name: 'http', localPort: 80 },
  ],
};

function folder(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'zeroforce-setup-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

function scriptFile(t: Test, text = setupScript(FACTS)): string {
  const path = join(folder(t), 'setup.sh');
  writeFileSync(path, text);
  return path;
}

t.test('every shell can read the script', { ...requires('dash', 'busybox', 'bash') }, async (t) => {
  const path = scriptFile(t);
  for (const shell of [['sh'], ['dash'], ['busybox', 'ash'], ['bash', '--posix']]) {
    const [program = '', ...args] = shell;
    t.strictSame(await run(program, [...args, '-n', path]), { code: 0, stdout: '', stderr: '' }, shell.join(' '));
  }
});

t.test('shellcheck finds nothing in it, nor in what it writes', { ...requires('shellcheck') }, async (t) => {
  const path = scriptFile(t);
  const root = folder(t);
  for (const init of ['busybox', 'openrc']) {
    t.equal((await run('sh', [path, '--root', root, '--init', init])).code, 0, init);
  }
  const files = [path, join(root, 'etc/init.d/S95zeroforce-tunnel')];
  t.strictSame(await run('shellcheck', ['-s', 'sh', ...files]), { code: 0, stdout: '', stderr: '' });
  // Its variables are read by openrc-run.
  const openrc = ['-s', 'sh', '-e', 'SC2034,SC2148,SC1008', join(root, 'etc/init.d/zeroforce-tunnel')];
  t.strictSame(await run('shellcheck', openrc), { code: 0, stdout: '', stderr: '' });
});

t.test('a script that was cut anywhere on its way does nothing', { ...requires('root', 'setpriv') }, async (t) => {
  const text = setupScript(FACTS);
  const dir = folder(t);
  chmodSync(dir, 0o755);
  const root = join(dir, 'root');
  mkdirSync(root);
  chmodSync(root, 0o777);
  const path = join(dir, 'cut.sh');
  // As a user who could do no harm, if it did something.
  const nobody = [
    '--reuid=65534',
    '--regid=65534',
    '--clear-groups',
    'dash',
    path,
    '--root',
    root,
    '--init',
    'systemd',
  ];
  const lengths = [...Array(60).keys()].map((index) => Math.floor((text.length * index) / 60));
  const ends = [...Array(40).keys()].map((index) => text.length - 2 - index);
  for (const length of [...lengths, ...ends]) {
    writeFileSync(path, text.slice(0, length));
    const { stdout, stderr } = await run('setpriv', nobody);
    if (readdirSync(root).length > 0 || /zeroforce-tunnel:|written/.test(stdout + stderr)) {
      t.fail(`cut after ${length} of ${text.length} characters it ran: ${stdout}${stderr}`);
    }
  }
  writeFileSync(path, text);
  t.equal((await run('setpriv', nobody)).code, 0);
  t.ok(existsSync(join(root, 'etc/zeroforce-tunnel/ssh_config')), 'and whole it does');
});

t.test('below another root it writes files of the right modes, and removes them', async (t) => {
  const path = scriptFile(t);
  const root = folder(t);
  const { code, stdout, stderr } = await run('sh', [path, '--root', root, '--init', 'systemd']);
  t.match({ code, stderr }, { code: 0, stderr: '' }, stdout);
  const mode = (file: string) => statSync(join(root, file)).mode & 0o777;
  t.equal(mode('etc/zeroforce-tunnel'), 0o700);
  t.equal(mode('etc/zeroforce-tunnel/ssh_config'), 0o600);
  t.equal(mode('etc/zeroforce-tunnel/known_hosts'), 0o600);
  t.equal(mode('etc/systemd/system/zeroforce-tunnel.service'), 0o644);
  t.ok(existsSync(join(root, 'etc/systemd/system/multi-user.target.wants')));
  const holding = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((file) => {
    const full = join(root, file);
    return !file.includes('.wants/') && statSync(full).isFile() && readFileSync(full, 'utf8').includes(FACTS.token);
  });
  t.strictSame(holding, ['etc/zeroforce-tunnel/ssh_config'], 'the token is in one file');

  t.equal((await run('sh', [path, '--root', root, '--init', 'systemd'])).code, 0, 'a second time');
  t.equal((await run('sh', [path, '--uninstall', '--root', root])).code, 0);
  const left = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((file) => file.includes('zeroforce'));
  t.strictSame(left, []);
  t.equal((await run('sh', [path, '--uninstall', '--root', root])).code, 0, 'a second time');
});

t.test('wrong options are refused by name', async (t) => {
  const path = scriptFile(t);
  const root = folder(t);
  const table: [string[], RegExp][] = [
    [['--what'], /not known: --what/],
    [['--root'], /--root needs a value/],
    [['--root', 'relative'], /absolute/],
    [['--root', '/nothing/there'], /no folder/],
    [['--root', root, '--init', 'upstart'], /systemd, openrc or busybox/],
    [['--root', root], /name it with --init/],
  ];
  for (const [args, message] of table) {
    const { code, stderr } = await run('sh', [path, ...args]);
    t.match({ code, stderr }, { code: 1, stderr: message }, args.join(' '));
  }
  t.match(await run('sh', [path, '--help']), { code: 0, stdout: /^Usage/ });
});

t.test('the init system of an image is found', async (t) => {
  const path = scriptFile(t);
  const table: [string, string, string, string][] = [
    ['sbin/openrc-run', '', 'etc/init.d/zeroforce-tunnel', 'OpenRC'],
    ['usr/lib/systemd/systemd', '', 'etc/systemd/system/zeroforce-tunnel.service', 'systemd'],
    ['etc/init.d/rcS', 'for i in /etc/init.d/S??* ;do', 'etc/init.d/S95zeroforce-tunnel', 'BusyBox'],
  ];
  for (const [file, text, expected, what] of table) {
    const root = folder(t);
    mkdirSync(join(root, file, '..'), { recursive: true });
    writeFileSync(join(root, file), text, { mode: 0o755 });
    t.equal((await run('sh', [path, '--root', root])).code, 0, what);
    t.ok(existsSync(join(root, expected)), expected);
  }
});

/** What tries to get out of the place where it stands: of the shell, of a here-document, of a line of ssh_config. */
const HOSTILE = [
  ...["'", '"', '`reboot`', '$(reboot)', '$IFS', ';reboot', '|reboot', '&', '\\', '\\n', '\n', '\r', '\r\n', '\t', ' '],
  ...[
    '\nProxyCommand reboot',
    '\nEND_OF_FILE\nreboot\n',
    'END_OF_FILE',
    '%h',
    '%%',
    '%',
    '-oProxyCommand=reboot',
    '#',
    '',
  ],
  ...[
    'a b',
    '*',
    '?',
    '!',
    '~',
    '\u0000',
    '\u0085',
    '\u2028',
    'ü',
    '\ud800',
    'x'.repeat(10_000),
    '../../etc',
    '=',
    ',',
  ],
];

t.test('no value can become a command, or a second line of the configuration', async (t) => {
  const table: [keyof SetupFacts, (value: string) => Partial<SetupFacts>][] = [
    ['token', (token) => ({ token })],
    ['host', (host) => ({ host })],
    ['hostKey', (hostKey) => ({ hostKey })],
    ['port', (port) => ({ port: port as never })],
    ['forwards', (port) => ({ forwards: [{ name: 'ssh', localPort: port as never }] })],
  ];
  for (const [fact, change] of table) {
    const good = typeof FACTS[fact] === 'string' ? FACTS[fact] : '';
    for (const value of HOSTILE.flatMap((text) => [text, `${good}${text}`, `${text}${good}`])) {
      if (value === good) continue;
      const facts = { ...FACTS, ...change(value) };
      try {
        setupScript(facts);
        // What is accepted is a word of the shell, and of ssh, as it is; but for the percent sign of a zone.
        if (!/^[A-Za-z0-9_:.%+/@= -]+$/.test(value)) t.fail(`${fact} ${JSON.stringify(value)} was accepted`);
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        if (value.length > 8 && error.message.includes(value)) t.fail(`${fact}: the sentence repeats the value`);
      }
    }
  }
  const named = { ...FACTS, forwards: HOSTILE.map((name, index) => ({ name, localPort: index + 1 })) };
  t.notMatch(setupScript(named), /reboot/, 'names of services are not in it');
});

t.test('whatever host is accepted, ssh reads the configuration as it is meant', { ...requires('ssh') }, async (t) => {
  const dir = folder(t);
  const read = async (facts: SetupFacts) => {
    writeFileSync(join(dir, 'ssh_config'), sshConfigText(facts));
    const { code, stdout, stderr } = await run('ssh', ['-G', '-F', join(dir, 'ssh_config'), 'zeroforce-gateway']);
    if (code !== 0) throw new Error(stderr);
    return stdout.split('\n');
  };
  const lines = await read(FACTS);
  for (const line of [
    ...['hostname gateway.example.org', 'port 2222', `user ${FACTS.token}`, 'hostkeyalias zeroforce-gateway'],
    ...['batchmode yes', 'stricthostkeychecking true', 'exitonforwardfailure yes', 'identitiesonly yes'],
    ...['serveraliveinterval 15', 'serveralivecountmax 2', 'updatehostkeys false', 'preferredauthentications none'],
    ...[
      'remoteforward 0 [localhost]:22',
      'remoteforward 0 [localhost]:80',
      'userknownhostsfile /etc/zeroforce-tunnel/known_hosts',
    ],
  ]) {
    t.ok(lines.includes(line), line);
  }
  t.strictSame(
    lines.filter((line) => line.startsWith('remoteforward')),
    ['remoteforward 0 [localhost]:22', 'remoteforward 0 [localhost]:80'],
    'in the order of the services',
  );
  for (const host of ['192.0.2.7', '2001:db8::7', '::1', 'fe80::1%eth0', 'a_b-c.example', 'GATEWAY']) {
    t.ok((await read({ ...FACTS, host })).includes(`hostname ${host.toLowerCase()}`), host);
  }
  const characters = fc.constantFrom(...'aZ09._-:%$`\'"\\ \n\t#;|&()<>=@!*?[]{}~^,+/');
  await fc.assert(
    fc.asyncProperty(fc.array(characters, { minLength: 1, maxLength: 12 }), async (parts) => {
      const host = parts.join('');
      let text: string;
      try {
        text = sshConfigText({ ...FACTS, host });
      } catch (error) {
        return error instanceof Failure;
      }
      return text.split('\n').length === sshConfigText(FACTS).split('\n').length && !/[$`'"\\ #;|&<>*?]/.test(host);
    }),
    { numRuns: 3000 },
  );
});
