/**
 * Of board/, the tree for Buildroot, all that can be judged without a Buildroot. What its own tools say of it is looked
 * at by `make check-buildroot`, for which they have to be there.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, lstatSync, mkdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { basename, join, relative, resolve } from 'node:path';
import wholeFile, { type Test } from 'tap';
import pkg from '../../package.json' with { type: 'json' };
import { temporaryFolder } from '../device/support.ts';
import { NEAR, network } from '../support/network.ts';
import { run } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { until } from '../support/until.ts';
import { BOARD, installPackage, listOf, type PackageOptions } from './buildroot-package.ts';

const ROOT = resolve(BOARD, '..');
const MAKE = requires('make');
const PACKAGES = ['zeroforce-agent', 'zeroforce-usbip'] as const;
const OVERLAYS = ['rootfs-overlay', 'board/beamer/rootfs-overlay', 'board/rtsp-recorder/rootfs-overlay'];
const DEFCONFIGS = listOf(join(BOARD, 'configs'));
const PATH_OF_TREE = '$(BR2_EXTERNAL_ZEROFORCE_PATH)';

const text = (path: string) => readFileSync(join(ROOT, path), 'utf8');
const mode = (path: string) => (statSync(path).mode & 0o777).toString(8);
const tracked = (...paths: string[]) =>
  execFileSync('git', ['ls-files', '--', ...paths], { cwd: ROOT, encoding: 'utf8' })
    .trim()
    .split('\n');

wholeFile.test('shell scripts are as shellcheck wants them', requires('shellcheck'), async (t) => {
  const scripts = tracked('board', ...OVERLAYS, 'scripts/*buildroot*').filter((path) =>
    /^#!\/bin\/(ba)?sh/.test(text(path)),
  );
  t.ok(scripts.length > 10);
  const { stdout, code } = await run(
    'shellcheck',
    scripts.map((path) => join(ROOT, path)),
  );
  t.equal(code, 0, stdout);
});

wholeFile.test('the files of Buildroot have the form that it wants', async (t) => {
  for (const name of PACKAGES) {
    const mk = text(`board/package/${name}/${name}.mk`).split('\n');
    const rule = '#'.repeat(80);
    t.strictSame(mk.slice(0, 6), [rule, '#', `# ${name}`, '#', rule, ''], 'header');
    t.equal(mk.at(-2), '$(eval $(generic-package))');
    t.notMatch(mk.join('\n'), /[ \t]$/m, 'no blanks at the end of a line');
    const kconfig = text(`board/package/${name}/Config.in`);
    for (const line of kconfig.split('\n').filter((line) => line.startsWith('\t  '))) {
      t.ok(line.length <= 3 + 62, `the help is too wide: ${line}`);
    }
    t.notMatch(kconfig, /^ +/m, 'tabs');
  }
  for (const path of tracked('board', ...OVERLAYS).filter((path) => /\/S\d\d[^/]*$/.test(path))) {
    const daemon = basename(path).slice(3);
    t.match(text(path), new RegExp(`^DAEMON="${daemon}"$`, 'm'), path);
    if (/^PIDFILE=/m.test(text(path))) t.match(text(path), /^PIDFILE="\/var\/run\/\$DAEMON\.pid"$/m);
    t.notMatch(text(path), /^ +/m, 'tabs');
    const executable = (lstatSync(join(ROOT, path)).mode & 0o100) !== 0;
    t.equal(executable, path.includes('/etc/init.d/'), `${path}: the .mk gives the mode, or the overlay has it`);
  }
});

wholeFile.test('each path that Buildroot is told is there', async (t) => {
  for (const name of DEFCONFIGS) {
    const paths = text(`board/configs/${name}`).match(/\$\(BR2_EXTERNAL_ZEROFORCE_PATH\)[^" ]*/g) ?? [];
    t.ok(paths.length > 5);
    for (const path of paths) t.ok(existsSync(path.replace(PATH_OF_TREE, BOARD)), path);
  }
  for (const [, path = ''] of text('board/Config.in').matchAll(/\$BR2_EXTERNAL_ZEROFORCE_PATH\/([^"]*)/g)) {
    t.ok(existsSync(join(BOARD, path)), path);
  }
});

wholeFile.test('version and hashes are those of the program', async (t) => {
  t.match(text('board/package/zeroforce-agent/zeroforce-agent.mk'), `ZEROFORCE_AGENT_VERSION = ${pkg.version}\n`);
  const archive = `zeroforce-agent-${pkg.version}.tar.gz`;
  const hashes = new Map(
    [
      ...text('board/package/zeroforce-agent/zeroforce-agent.hash').matchAll(/^sha256 {2}([0-9a-f]{64}) {2}(\S+)$/gm),
    ].map(([, hash, name]) => [name, hash]),
  );
  t.strictSame([...hashes.keys()], [archive, 'tunnel-agent.cjs.LEGAL.txt']);
  // make release has made both; it is not made anew here.
  const made = join(ROOT, 'dist', archive);
  if (existsSync(made)) t.equal(hashes.get(archive), createHash('sha256').update(readFileSync(made)).digest('hex'));
});

wholeFile.test('the defconfigs', async (t) => {
  const options = new Map(
    DEFCONFIGS.map((name) => [name, new Set(text(`board/configs/${name}`).match(/^(?:# )?BR2_.*$/gm) ?? [])]),
  );
  t.equal(DEFCONFIGS.length, 4);
  for (const [name, set] of options) {
    t.ok(set.has('BR2_DOWNLOAD_FORCE_CHECK_HASHES=y'), `${name} checks every hash`);
    t.ok(set.has('# BR2_TARGET_ENABLE_ROOT_LOGIN is not set'), `${name}: root has no password`);
    t.ok(set.has('# BR2_TARGET_GENERIC_GETTY is not set'), `${name}: no prompt`);
    t.ok(set.has('BR2_PACKAGE_ZEROFORCE_AGENT=y'));
    const [, kernel = ''] = /linux\/*,([0-9a-f]{40})\)/.exec([...set].join('\n').replaceAll('raspberrypi,', '')) ?? [];
    t.match(text('board/patches/linux/linux.hash'), `linux-${kernel}.tar.gz`, `${name}: the hash of its kernel`);
  }
  // What a Beamer is does not depend on the board that it is made of.
  const ofTheBoard =
    /BR2_(arm=|aarch64|cortex|ARM_FPU|TOOLCHAIN_EXTERNAL_BOOTLIN_|LINUX_KERNEL_(DEFCONFIG|INTREE_DTS|CONFIG_FRAGMENT)|PACKAGE_RPI_FIRMWARE_)/;
  const beamers = [...options].filter(([name]) => name.includes('beamer'));
  t.equal(beamers.length, 3);
  const [first, ...others] = beamers.map(([, set]) => [...set].filter((option) => !ofTheBoard.test(option)));
  for (const other of others) t.strictSame(other, first);
});

/** What `make bundle` leaves; small, as no one runs it here. */
function bundled(t: Test, files: Readonly<Record<string, string>> = {}): string {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'source'));
  const whole = { 'tunnel-agent': '#!/bin/sh\n', 'tunnel-agent.cjs': '1;\n', 'tunnel-agent.cjs.LEGAL.txt': 'none\n' };
  for (const [name, content] of Object.entries({ ...whole, ...files }))
    writeFileSync(join(folder, 'source', name), content);
  return folder;
}

async function freshlyInstalled(t: Test, options: PackageOptions): Promise<string> {
  const folder = bundled(t);
  const { code, stderr } = await installPackage(join(folder, 'source'), join(folder, 'target'), options);
  t.equal(code, 0, stderr);
  return join(folder, 'target');
}

const targets = new Map<string, Promise<string>>();

/** The same, once for the whole file: nobody may change it. */
async function installed(options: PackageOptions): Promise<string> {
  const key = JSON.stringify(options);
  const target = targets.get(key) ?? freshlyInstalled(wholeFile, options);
  targets.set(key, target);
  return target;
}

const COMMON = [
  'etc/sysctl.d/90-zeroforce.conf',
  'etc/zeroforce/config.json',
  'usr/bin/tunnel-agent',
  'usr/lib/zeroforce/tunnel-agent',
  'usr/lib/zeroforce/tunnel-agent.cjs',
  'usr/lib/zeroforce/tunnel-agent.cjs.LEGAL.txt',
  'usr/lib/zeroforce/zeroforce-sshd',
];
const SUPERVISE = 'usr/lib/zeroforce/zeroforce-supervise';
const OPT = 'opt/beamer/beamer-ssh-tunnel';
const UNITS = ['zeroforce', 'zeroforce-monitor', 'zeroforce-sshd'].map(
  (name) => `usr/lib/systemd/system/${name}.service`,
);

wholeFile.test("the package's own commands install it", MAKE, async (t) => {
  await t.test('on a Beamer with BusyBox', async (t) => {
    const target = await installed({ name: 'zeroforce-agent', init: 'SYSV' });
    const scripts = ['etc/init.d/S70zeroforce', 'etc/init.d/S71zeroforce-sshd'];
    t.strictSame(listOf(target), [...COMMON, SUPERVISE, OPT, ...scripts].sort());
    t.equal(readlinkSync(join(target, 'usr/bin/tunnel-agent')), '../lib/zeroforce/tunnel-agent');
    for (const path of [...scripts, SUPERVISE, 'usr/lib/zeroforce/tunnel-agent'])
      t.equal(mode(join(target, path)), '755');
    t.equal(mode(join(target, 'etc/zeroforce/config.json')), '600');
    t.equal(mode(join(target, 'var/lib/zeroforce')), '700');
    t.equal(readFileSync(join(target, 'etc/zeroforce/config.json'), 'utf8'), text('board/beamer/config.json'));
  });

  await t.test('with OpenRC: its own scripts, and none that it would start a second time', async (t) => {
    const target = await installed({ name: 'zeroforce-agent', init: 'OPENRC' });
    const scripts = ['zeroforce', 'zeroforce-monitor', 'zeroforce-sshd'].map((name) => `etc/init.d/${name}`);
    const enabled = ['zeroforce', 'zeroforce-sshd'].map((name) => `etc/runlevels/default/${name}`);
    t.strictSame(listOf(target), [...COMMON, SUPERVISE, OPT, ...scripts, ...enabled].sort());
    for (const path of scripts) t.equal(mode(join(target, path)), '755');
  });

  await t.test('on an RTSP-Recorder with systemd', async (t) => {
    const config = ['BR2_PACKAGE_ZEROFORCE_AGENT_RTSP_RECORDER'];
    const target = await installed({ name: 'zeroforce-agent', init: 'SYSTEMD', config });
    const sshd = 'etc/zeroforce/sshd_config';
    const others = ['usr/lib/systemd/system-preset/70-zeroforce.preset', 'usr/lib/tmpfiles.d/zeroforce.conf'];
    t.strictSame(listOf(target), [...COMMON, sshd, ...UNITS, ...others].sort());
    t.equal(readFileSync(join(target, 'etc/zeroforce/config.json'), 'utf8'), text('board/rtsp-recorder/config.json'));
    const made = readFileSync(join(target, 'etc/zeroforce/sshd_config'), 'utf8');
    t.match(made, /^PermitOpen localhost:5000 127.0.0.1:5000$/m);
    t.match(made, /^Include \/etc\/zeroforce\/sshd_config.d\/\*.conf$/m);
    t.notMatch(made, /3240|beamer-ssh-tunnel/);
    t.match(
      readFileSync(join(target, others[0] ?? ''), 'utf8'),
      /^enable zeroforce.service\nenable zeroforce-sshd.service\n/,
    );
  });

  await t.test('the monitor alone', async (t) => {
    const config = ['BR2_PACKAGE_ZEROFORCE_AGENT_MONITOR_ONLY'];
    const small = await installed({ name: 'zeroforce-agent', init: 'SYSV', config });
    t.strictSame(listOf(join(small, 'etc/init.d')), ['S72zeroforce-monitor']);
    const big = await installed({ name: 'zeroforce-agent', init: 'SYSTEMD', config });
    const preset = readFileSync(join(big, 'usr/lib/systemd/system-preset/70-zeroforce.preset'), 'utf8');
    t.match(preset, /^enable zeroforce-monitor.service\ndisable zeroforce.service\ndisable zeroforce-sshd.service\n/);
  });

  await t.test('the USB ports', async (t) => {
    const own = ['usr/lib/zeroforce/usbip.nft', 'usr/lib/zeroforce/zeroforce-usbip'];
    for (const init of ['SYSV', 'OPENRC'] as const) {
      const target = await installed({ name: 'zeroforce-usbip', init });
      t.strictSame(listOf(target), ['etc/init.d/S74zeroforce-usbip', ...own]);
    }
    const target = await installed({ name: 'zeroforce-usbip', init: 'SYSTEMD' });
    t.strictSame(listOf(target), ['usr/lib/systemd/system/zeroforce-usbip.service', ...own]);
  });

  await t.test('no overlay holds a file of a package, and each of its files has a reason', async (t) => {
    const owned = new Set<string>();
    for (const target of targets.values()) for (const path of listOf(await target)) owned.add(path);
    t.ok(owned.size > 25);
    const page = text('docs/install/beamer.md') + text('docs/install/buildroot.md');
    for (const path of tracked(...OVERLAYS)) {
      const inTarget = relative(OVERLAYS.find((overlay) => path.startsWith(overlay)) ?? '', path);
      t.notOk(owned.has(inTarget), inTarget);
      t.match(page, `\`/${inTarget}\``, `the pages say why ${inTarget} is there`);
    }
  });
});

wholeFile.test('a half-written bundle is not installed', MAKE, async (t) => {
  const refused = async (files: Readonly<Record<string, string>>) => {
    const folder = bundled(t, files);
    const target = join(folder, 'target');
    const result = await installPackage(join(folder, 'source'), target, { name: 'zeroforce-agent', init: 'SYSV' });
    t.not(result.code, 0);
    t.strictSame(listOf(target), [], 'nothing is installed');
    return result.stderr + result.stdout;
  };
  t.match(await refused({ 'tunnel-agent.cjs': '' }), /tunnel-agent.cjs is missing or not whole: run 'make bundle'/);
  t.match(await refused({ 'tunnel-agent.cjs': 'const cut = "in the mid' }), /tunnel-agent.cjs is missing or not whole/);
  const wrong = createHash('sha256').update('another').digest('hex');
  t.match(await refused({ SHA256SUMS: `${wrong}  tunnel-agent.cjs\n` }), /tunnel-agent.cjs: FAILED/);
});

wholeFile.test('the root of a Beamer is never written to: what it remembers lies below /data', MAKE, async (t) => {
  const target = await freshlyInstalled(t, { name: 'zeroforce-agent', init: 'SYSV' });
  const make = (file: string, content: string) => {
    mkdirSync(resolve(target, file, '..'), { recursive: true });
    writeFileSync(join(target, file), content);
  };
  make('etc/ssh/sshd_config', 'Port 22\n');
  make('keys', 'ssh-ed25519 AAAA somebody\n');
  const script = async (name: string, env = {}) => {
    const { code, stderr } = await run(join(BOARD, name), [target], { env: { PATH: process.env.PATH, ...env } });
    t.equal(code, 0, stderr);
    return stderr;
  };
  t.match(await script('post-build.sh'), /nobody can log in on port 22/);
  await script('beamer/post-build.sh');
  const once = listOf(target);
  // Buildroot runs them again with every make, and installs a package anew into what they have made.
  await installPackage(join(target, '../source'), target, { name: 'zeroforce-agent', init: 'SYSV' });
  await script('post-build.sh', { ZEROFORCE_MAINTENANCE_KEYS: join(target, 'keys') });
  await script('beamer/post-build.sh');
  t.strictSame(listOf(target), [...once, 'etc/ssh/maintenance_keys'].sort());
  t.equal(
    readFileSync(join(target, 'etc/ssh/sshd_config'), 'utf8'),
    'Include /etc/ssh/sshd_config.d/*.conf\nPort 22\n',
  );

  const links = once.filter((path) => lstatSync(join(target, path)).isSymbolicLink());
  for (const link of links) {
    const to = resolve(target, link, '..', readlinkSync(join(target, link)));
    t.ok(to.startsWith(`${target}/`), `${link} stays in the target folder, and leads to ${relative(target, to)}`);
  }
  t.ok(
    ['etc/zeroforce', 'var/lib/zeroforce', 'root/.ssh', 'etc/ssh/ssh_host_ed25519_key'].every((l) => links.includes(l)),
  );
  t.equal(mode(join(target, 'data/etc/zeroforce/config.json')), '600');
  t.ok(existsSync(join(target, 'data/zeroforce/ever-paired')), 'without its data, a device is taken as paired');
  for (const line of text('board/beamer/permissions.txt')
    .split('\n')
    .filter((line) => line.startsWith('/'))) {
    const [path = '', , octal = ''] = line.split(/\s+/);
    t.equal(mode(join(target, path)), octal, `the table of permissions: ${path}`);
  }
});

wholeFile.test(
  'the USB ports are lent to who comes by loopback, and to nobody in the network',
  requires('root', 'namespaces', 'ip', 'nft', 'busybox'),
  async (t) => {
    const { inNear, inFar } = network(t);
    const [program = '', ...near] = inNear;
    const rules = join(BOARD, 'package/zeroforce-usbip/usbip.nft');
    const listen = 'busybox nc -ll -p 3240 -e echo lent & busybox nc -ll -p 3241 -e echo other & wait';
    const { spawn } = await import('node:child_process');
    const server = spawn(program, [...near, 'sh', '-c', listen], { stdio: 'ignore', detached: true });
    t.teardown(() => process.kill(-(server.pid ?? 0), 'SIGKILL'));
    const ask = async (from: readonly string[], to: string, port: number) => {
      const [command = '', ...prefix] = from;
      return (await run(command, [...prefix, 'busybox', 'nc', '-w', '1', to, String(port)])).stdout;
    };
    await until(
      'both ports',
      async () => (await ask(inFar, NEAR, 3240)) === 'lent\n' && (await ask(inFar, NEAR, 3241)) !== '',
    );
    // Loaded with each start of the service.
    for (let round = 0; round < 2; round++) {
      const { code, stderr } = await run(program, [...near, 'nft', '-f', rules]);
      t.equal(code, 0, stderr);
    }
    const { stdout } = await run(program, [...near, 'nft', 'list', 'ruleset']);
    t.equal(stdout.match(/dport 3240/g)?.length, 1, 'the rule is there once');
    t.equal(await ask(inFar, NEAR, 3240), '', 'somebody in the network');
    t.equal(await ask(inFar, NEAR, 3241), 'other\n', 'who reaches other ports');
    t.equal(await ask(inNear, '127.0.0.1', 3240), 'lent\n', 'the sshd of the tunnel');
  },
);

wholeFile.test('without a checkout, check-buildroot says what it needs', async (t) => {
  const check = (env: Record<string, string>) =>
    run(join(ROOT, 'scripts/check-buildroot.sh'), [], { env: { PATH: process.env.PATH, ...env } });
  t.match(await check({}), { code: 1, stderr: /BUILDROOT is not set: the folder of a Buildroot checkout/ });
  t.match(await check({ BUILDROOT: ROOT }), { code: 1, stderr: /is no Buildroot checkout/ });
});
