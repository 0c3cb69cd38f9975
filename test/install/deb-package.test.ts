import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chownSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { agentDeb } from '../../scripts/deb.ts';
import { manPages } from '../../scripts/man/pages.ts';
import { program as agent } from '../../src/cli/agent-program.ts';
import { program as gateway } from '../../src/cli/gateway-program.ts';
import { GATEWAY_VARIABLES } from '../../src/config/gateway-options.ts';
import { OPTION_KEYS, optionOf } from '../../src/config/options.ts';
import { run } from '../support/processes.ts';
import { requires } from '../support/requires.ts';

const SCRIPTS = 'board/debian';
const exec = promisify(execFile);

t.test(
  'the package is the same wherever and whenever it is made, and lintian has nothing against it',
  requires('dpkg-deb', 'lintian'),
  async (t) => {
    const folder = t.testdir();
    const sum = async (outFolder: string) => {
      const deb = await agentDeb({ outFolder });
      return { deb, sum: createHash('sha256').update(readFileSync(deb)).digest('hex') };
    };
    const first = await sum(join(folder, 'one'));
    const before = process.umask(0o077);
    const second = await sum(join(folder, 'two')).finally(() => process.umask(before));
    t.equal(first.sum, second.sum);
    const { code, stdout } = await run('lintian', ['--allow-root', '--tag-display-limit', '0', first.deb], {
      timeoutMs: 60_000,
    });
    t.strictSame({ code, stdout }, { code: 0, stdout: '' });
    const { stdout: listed } = await exec('dpkg-deb', ['-c', first.deb]);
    const odd = listed
      .split('\n')
      .filter((line) => line !== '' && !/^(-rw-r--r--|-rwxr-xr-x|drwxr-xr-x|lrwxrwxrwx) root\/root/.test(line));
    t.strictSame(odd, [], 'every file is root’s, and readable');
    t.match((await exec('dpkg-deb', ['-I', first.deb, 'conffiles'])).stdout, /^\/etc\/zeroforce\/sshd_config\n$/);
  },
);

t.test('shellcheck finds nothing in the scripts', requires('shellcheck'), async (t) => {
  const files = ['postinst', 'prerm', 'postrm'].flatMap((name) => [
    `${SCRIPTS}/zeroforce/${name}`,
    `${SCRIPTS}/zeroforce-gateway/${name}`,
  ]);
  files.push(
    `${SCRIPTS}/zeroforce/restart-after-dpkg`,
    `${SCRIPTS}/zeroforce-gateway/tunnel-gateway`,
    'bin/tunnel-agent',
    'bin/tunnel-gateway',
  );
  t.strictSame(await run('shellcheck', files), { code: 0, stdout: '', stderr: '' });
});

t.test(
  'purged, it takes its own key out of the file and leaves those of others',
  requires('root', 'ssh-keygen'),
  async (t) => {
    const keyOf = async (name: string) => {
      await exec('ssh-keygen', [
        '-q',
        '-t',
        'rsa',
        '-b',
        '3072',
        '-N',
        '',
        '-C',
        name,
        '-f',
        join(t.testdirName, name),
      ]);
      const print = await exec('ssh-keygen', ['-l', '-f', join(t.testdirName, name)]);
      return {
        line: readFileSync(join(t.testdirName, `${name}.pub`), 'utf8'),
        fingerprint: print.stdout.split(' ')[1],
      };
    };
    const root = t.testdir();
    const [paired, other] = [await keyOf('paired'), await keyOf('other')];
    const file = join(root, 'root/.ssh/authorized_keys');
    const text = readFileSync(`${SCRIPTS}/zeroforce/postrm`, 'utf8')
      .replaceAll(/\/(?:var\/lib|etc|opt|run)\/zeroforce|\/root\//g, `${root}$&`)
      .replaceAll('deb-systemd-helper', 'not-here');
    writeFileSync(join(root, 'postrm'), text);
    const purge = async (before = '') => {
      for (const folder of ['var/lib/zeroforce', 'etc/zeroforce', 'root/.ssh'])
        mkdirSync(join(root, folder), { recursive: true });
      writeFileSync(file, paired.line + other.line, { mode: 0o600 });
      chownSync(file, 1234, 1234);
      const audit = JSON.stringify({ what: 'key-set', fingerprint: paired.fingerprint });
      writeFileSync(join(root, 'var/lib/zeroforce/audit.log'), `${audit}\n`);
      return run('sh', ['-c', `${before} exec sh ${join(root, 'postrm')} purge`]);
    };

    t.match((await purge()).stdout, /the paired key was removed/);
    t.equal(readFileSync(file, 'utf8'), other.line);
    t.equal(statSync(file).uid, 1234, 'sshd reads it as the user whose file it is');
    t.notOk(existsSync(join(root, 'var/lib/zeroforce')));

    await purge("trap '' XFSZ; ulimit -f 0;");
    t.equal(readFileSync(file, 'utf8'), paired.line + other.line, 'a disk that is full costs nobody a key');

    mkdirSync(join(root, 'opt/zeroforce'), { recursive: true });
    writeFileSync(join(root, 'opt/zeroforce/installed'), '');
    t.match((await purge()).stdout, /install\.sh has installed it again/);
    t.equal(readFileSync(file, 'utf8'), paired.line + other.line);
    t.ok(existsSync(join(root, 'var/lib/zeroforce/audit.log')), 'the state of the one that runs stays');
  },
);

t.test('a Node that lies beside the launcher is the one that runs', async (t) => {
  const folder = t.testdir();
  for (const name of ['tunnel-agent', 'tunnel-gateway']) {
    writeFileSync(join(folder, name), readFileSync(`bin/${name}`), { mode: 0o755 });
    writeFileSync(join(folder, `${name}.cjs`), 'console.log("the system’s")');
  }
  const answers = async () =>
    (await Promise.all(['tunnel-agent', 'tunnel-gateway'].map((name) => run(join(folder, name), ['a b'])))).map(
      ({ stdout }) => stdout,
    );
  t.strictSame(await answers(), ['the system’s\n', 'the system’s\n']);
  writeFileSync(join(folder, 'node'), '#!/bin/sh\nfor last; do :; done; echo "its own: $last"\n', { mode: 0o755 });
  t.strictSame(await answers(), ['its own: a b\n', 'its own: a b\n']);
});

t.test('the manual pages', async (t) => {
  const pages = new Map(manPages('1.2.3').map(({ file, text }) => [file, text]));
  const read = (file: string) => (pages.get(file) ?? '').replaceAll('\\-', '-').replaceAll(/\\f[BIR]/g, '');

  t.test('hold every command with its options, and every setting', async (t) => {
    for (const program of [agent, gateway]) {
      const text = read(`${program.name()}.1`);
      const visit = (command: typeof agent, words: string) => {
        if (command.commands.length === 0) t.match(text, `.SS "${words}`, words);
        for (const { long } of command.createHelp().visibleOptions(command))
          t.match(text, String(long), `${words} ${long}`);
        for (const child of command.commands) visit(child, `${words} ${child.name()}`);
      };
      visit(program, program.name());
    }
    for (const key of OPTION_KEYS) t.match(read('zeroforce.conf.5'), `.TP\n${key}\n${optionOf(key).about}`);
    for (const name of GATEWAY_VARIABLES) t.match(read('tunnel-gateway.1'), `.TP\n${name}\n`);
  });

  t.test('are read by man without a warning', requires('man', 'groff'), async (t) => {
    const folder = t.testdir();
    for (const [file, text] of pages) {
      mkdirSync(join(folder, 'pages'), { recursive: true });
      writeFileSync(join(folder, 'pages', file), text);
      const env = { ...process.env, LC_ALL: 'C.UTF-8', MANROFFSEQ: '', MANWIDTH: '80' };
      const answer = await run(
        'man',
        ['--warnings', '-E', 'UTF-8', '-l', '-Tutf8', '-Z', join(folder, 'pages', file)],
        { env },
      );
      t.strictSame({ code: answer.code, stderr: answer.stderr }, { code: 0, stderr: '' }, file);
      const shown = await run('man', ['-P', 'cat', '-l', join(folder, 'pages', file)], { env });
      t.match(shown.stdout, /^NAME\n[\s\S]*zeroforce 1\.2\.3/m, `${file} is shown`);
      t.notMatch(shown.stdout, /\\[a-z(]/, 'and nothing of roff');
    }
  });
});
