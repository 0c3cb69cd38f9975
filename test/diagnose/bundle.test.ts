import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import {
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
import { gunzipSync } from 'node:zlib';
import t, { type Test } from 'tap';
import { DEVICE_KEY } from '../support/meeting-api.ts';
import { freshKeyLine } from '../support/public-keys.ts';
import { requires } from '../support/requires.ts';
import { until } from '../support/until.ts';
import { type Machine, machine, NEEDS_MACHINE } from './machine.ts';

const NEEDS = requires(...NEEDS_MACHINE, 'tar', 'nft');
const FOLDER = 'zeroforce-bundle';

/** A folder that the machine has, too. */
function temporary(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'zeroforce-bundle-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Unpacks an archive with the tar of the system, and gives its files by name. */
function unpack(t: Test, path: string): Record<string, string> {
  const folder = temporary(t);
  execFileSync('tar', ['-xzf', path, '-C', folder]);
  const names = readdirSync(join(folder, FOLDER));
  return Object.fromEntries(names.map((name) => [name, readFileSync(join(folder, FOLDER, name), 'latin1')]));
}

const bundle = (device: Machine, path: string, env: Record<string, string> = {}) =>
  device.agent(['diagnose', '--no-network', '--bundle', path], env);

/** Where a secret was put, and what must not be found of it. */
const PLANTED = {
  'token of the configuration': `feed5ec2/e7+ab"8`,
  'token of the environment': 'NEVERSHOWTHISENVTOKENMFRGGZDFMZTWQ2LKNNWG23TPOBYXE4',
  'token of deployed software': '41e291',
  'token of the last good configuration': 'last-good-token-77',
  'token in a file of its own': 'own-file-token-88',
  'token in a file that nothing names': 'forgotten-token-99',
  'PIN of a start file': '84736251',
  'verifier of the PIN': 'a0b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5',
  'password in an environment': 'hunter2-of-a-database',
  'header of a log line': 'unknown-header-token',
  'authorization of a log line': 'dXNlcjp1bmtub3du',
  'token of an address': 'MFRGGZDFMZTWQ2LKNNWG23TPOBYXE43UOV3HO6DZPJQWEY3EMVTA',
  'argument of a program of ours': 'argument-token-55',
  'argument of a program of others': 'argument-of-others-66',
  'key of a Wi-Fi': 'wifi-key-never-collected',
  'secret in a comment': 'comment-about-the-router',
} as const;

/** What each secret looks like to somebody who searches for it, raw or encoded. */
function looks(secret: string): string[] {
  const bytes = Buffer.from(secret);
  const inside = [0, 1, 2].map((before) => {
    const text = Buffer.concat([Buffer.alloc(before), bytes]).toString('base64');
    return text.slice(Math.ceil((before * 8) / 6), Math.floor(((before + bytes.length) * 8) / 6));
  });
  const url = encodeURIComponent(secret);
  return [
    secret,
    url,
    JSON.stringify(secret).slice(1, -1),
    bytes.toString('hex'),
    ...inside,
    bytes.toString('base64url'),
  ];
}

function expectNothingOf(t: Test, raw: string, where: string, secrets: Record<string, string>): void {
  const text = raw.toLowerCase();
  for (const [name, secret] of Object.entries(secrets)) {
    for (const look of looks(secret)) {
      if (text.includes(look.toLowerCase())) t.fail(`${where} holds the ${name}: ${look}`);
    }
  }
}

/** A device with secrets in every place that the bundle looks at, and in some that it does not. */
async function plant(device: Machine): Promise<{ pem: string; env: Record<string, string> }> {
  const config = PLANTED['token of the configuration'];
  const bytes = Buffer.from(config);
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const pem = privateKey.export({ type: 'pkcs1', format: 'pem' }).toString();
  const proxy = { host: '127.0.0.1', port: 9001 };
  await device.configure({
    meeting: { deviceKey: DEVICE_KEY, token: config, proxy },
    ssh: { tokenFile: '/etc/zeroforce/ssh' },
    mdns: { enabled: false },
  });
  await device.write('/etc/zeroforce/ssh', `${PLANTED['token in a file of its own']}\n`, 0o600);
  await device.write('/etc/zeroforce/old-token', PLANTED['token in a file that nothing names'], 0o600);
  const deployed = { device_key: DEVICE_KEY, token_code: PLANTED['token of deployed software'] };
  await device.write('/etc/rpi-cam/meeting.json', JSON.stringify(deployed));
  const state = '/var/lib/zeroforce';
  await device.write(
    `${state}/pairing-pin.json`,
    JSON.stringify({ salt: 'aabbccddee', verifier: PLANTED['verifier of the PIN'], failures: 0 }),
    0o600,
  );
  await device.write(`${state}/session-${PLANTED['token in a file of its own']}.tmp`, '');
  await device.write('/etc/default/zeroforce', `export ZEROFORCE_PIN=${PLANTED['PIN of a start file']}\n`);
  await device.write('/etc/wpa_supplicant.conf', `psk="${PLANTED['key of a Wi-Fi']}"\n`);
  await device.write(
    '/root/.ssh/authorized_keys',
    `environment="T=${PLANTED['token in a file of its own']}" ${freshKeyLine()}\n`,
    0o600,
  );
  const comment = `# ${PLANTED['secret in a comment']} ${config}\n`;
  await device.write(
    '/etc/hosts',
    `127.0.0.1 localhost raspi ${PLANTED['token of deployed software']}.test ${comment}`,
  );
  await device.write('/etc/hosts.deny', comment);
  await device.write(
    '/etc/ssh/sshd_config.d/own.conf',
    `Banner /etc/${PLANTED['token in a file of its own']}\n${comment}`,
  );
  await device.sh(`nft 'add table inet filter; add chain inet filter in { type filter hook input priority 0; }'
    nft 'add rule inet filter in tcp dport 4711 accept comment "${PLANTED['token of deployed software']}"'`);
  const log = [
    ...[config, JSON.stringify({ a: config }), encodeURIComponent(config), bytes.toString('hex')],
    ...[bytes.toString('base64'), Buffer.from(`user:${config}`).toString('base64')],
    `${config.slice(0, 7)}\n  ${config.slice(7)}`,
    `GET / X-Token-Code: ${PLANTED['header of a log line']}`,
    `{"authorization":"Basic ${PLANTED['authorization of a log line']}"}`,
    `ssh://${PLANTED['token of an address']}@gateway:2222`,
    `{"token": "${PLANTED['token of deployed software']}", "name": "${DEVICE_KEY}"}`,
    `pin ${PLANTED['PIN of a start file']} verifier ${PLANTED['verifier of the PIN']}`,
    `connect mysql ${PLANTED['password in an environment']}`,
    pem,
    Object.values(PLANTED).slice(1, 6).join(' '),
  ];
  const lines = log.map((line) => line.replace(/^/gm, 'Nov 21 12:00:00 raspi zeroforce[4711]: '));
  lines.splice(6, 1, `Nov 21 12:00:00 raspi zeroforce: ${log[6]}`); // wrapped: the rest has no head of its own
  await device.write('/var/log/messages', `${lines.join('\n')}\nNov 21 12:00:00 raspi other: the router says hello\n`);
  return { pem, env: { ZEROFORCE_SSH_TOKEN: PLANTED['token of the environment'] } };
}

t.test('everything that support needs, and no secret in it', NEEDS, async (t) => {
  const device = await machine(t);
  const { pem, env } = await plant(device);
  await device.sshd('Include /etc/ssh/sshd_config.d/*.conf\nAllowUsers pi\n# comment-about-the-router');
  await device.service();
  const kept = device.path('/var/lib/zeroforce/config.last-good.json');
  await until(
    'the service to keep its configuration',
    () => existsSync(kept) && readFileSync(kept, 'utf8').includes(DEVICE_KEY),
  );
  const lastGood = { meeting: { token: PLANTED['token of the last good configuration'] } };
  await device.write(`/var/lib/zeroforce/config.last-good.json`, JSON.stringify(lastGood), 0o600);
  const idle = 'setInterval(() => {}, 1e6)';
  const ours = [
    'tunnel-agent',
    PLANTED['argument of a program of ours'],
    '--token',
    PLANTED['argument of a program of ours'],
  ];
  await device.start(['node', '-e', idle, ...ours, PLANTED['token of the configuration']], null, {
    DB_PASSWORD: PLANTED['password in an environment'],
  });
  await device.start(['node', '-e', idle, PLANTED['argument of a program of others']], null);
  const path = join(temporary(t), 'device.tar.gz');
  const { code, stderr } = await bundle(device, path, env);
  t.match(stderr, /everything for support is in/);
  t.ok(code === 0 || code === 1);
  t.equal(statSync(path).mode & 0o777, 0o600);

  const files = unpack(t, path);
  const raw = gunzipSync(readFileSync(path)).toString('latin1');
  t.ok(raw.length < 4 * 1024 * 1024, 'a few MB');
  expectNothingOf(t, raw, 'the archive', PLANTED);
  for (const line of pem.split('\n').slice(1, -2)) t.notOk(raw.includes(line), 'no line of a private key');

  t.match(
    files['MANIFEST.txt'],
    new RegExp(`${DEVICE_KEY}[\\s\\S]*report\\.json +\\d+[\\s\\S]*Left in, since support needs it: the device key`),
  );
  t.match(JSON.parse(files['report.json'] ?? ''), { device: DEVICE_KEY, checks: [{ id: 'config.valid' }] });
  t.match(files['report.txt'], /config\.valid/);
  t.match(JSON.parse(files['configuration.json'] ?? ''), { origin: 'file', faults: [] });
  t.match(files['configuration.json'], /"value": "\[secret\]"/);
  t.match(JSON.parse(files['status.json'] ?? ''), { tunnel: { state: /./ }, pid: Number });
  t.match(files['versions.txt'], /zeroforce \d[\s\S]*node v[\s\S]*OpenSSH_/);
  t.match(files['sockets.txt'], /0\.0\.0\.0:22 {2}sshd \d+/);
  t.match(files['sshd.txt'], /sshd -T -f \/etc\/ssh\/sshd_config[\s\S]*allowusers pi[\s\S]*own\.conf/);
  t.match(files['firewall.txt'], /tcp dport 4711 accept comment "\[secret\]"/);
  t.match(files['network.txt'], /192\.168\.77\.10[\s\S]*default via 192\.168\.77\.1[\s\S]*\[secret\]\.test/);
  t.match(files['keys.txt'], /SHA256:[A-Za-z0-9+/]{43} \(environment\)/);
  t.match(files['files.txt'], /pairing-pin\.json[\s\S]*session-\[secret\]\.tmp/);
  t.match(files['processes.txt'], /tunnel-agent \[secret\] --token \[secret\] \[secret\]\n/);
  t.match(files['disk.txt'], /Filesystem[\s\S]*MemTotal/);
  t.match(files['time.txt'], /wall clock \d{4}-[\s\S]*btime \d+/);
  t.match(files['log.txt'], /zeroforce\[4711\]: \[secret\]\n[\s\S]*X-Token-Code: \[secret\][\s\S]*\[private key\]/);
  t.notMatch(files['log.txt'], /router says hello/, 'lines of others are left out');
});

t.test('where it cannot be written, nothing is left behind and nothing is lost', NEEDS, async (t) => {
  const device = await machine(t);
  const refused = async (path: string, reason: RegExp) => {
    const { code, stderr } = await bundle(device, path);
    t.equal(code, 1, path);
    t.match(stderr, reason, path);
    t.match(stderr, /diagnose\.bundle-unwritable|--bundle \/tmp/, 'it says what to do');
  };
  const folder = temporary(t);
  const old = join(folder, 'old.tar.gz');
  writeFileSync(old, 'mine');
  await refused(old, /exists already and was left as it is/);
  t.equal(readFileSync(old, 'utf8'), 'mine');
  await refused(folder, /exists already/);
  await refused(join(folder, 'missing/a.tar.gz'), /no such file or directory/);
  await refused('/proc/self/a.tar.gz', /could not be written/);
  await device.sh(
    'mkdir /root/full /root/fixed; mount -t tmpfs -o size=8k tmpfs /root/full; mount -t tmpfs -o ro tmpfs /root/fixed',
  );
  await refused('/root/fixed/a.tar.gz', /read-only file system/);
  await refused('/root/full/a.tar.gz', /no space left on device/);
  t.equal(
    (await device.sh('ls -A /root/full /root/fixed')).stdout.replace(/\/root\/.*:/g, '').trim(),
    '',
    'nothing is left',
  );
});

t.test('what hangs, is missing or is forbidden is told, and the rest is there', NEEDS, async (t) => {
  const device = await machine(t);
  await device.configure({ meeting: { deviceKey: DEVICE_KEY, token: 'feed5ec2e7ab', proxy: { host: '127.0.0.1' } } });
  await device.sh('mount -t tmpfs tmpfs /usr/local/sbin');
  await device.write('/usr/local/sbin/df', '#!/bin/sh\nexec sleep 60\n', 0o755);
  await device.write('/usr/local/sbin/nft', '#!/bin/sh\nyes feed5ec2e7ab\n', 0o755);
  const folder = temporary(t);
  mkdirSync(join(folder, 'own'), { mode: 0o777 });
  const path = join(folder, 'device.tar.gz');
  const startMs = Date.now();
  await bundle(device, path);
  t.ok(Date.now() - startMs < 40_000, 'it ends');
  const files = unpack(t, path);
  t.match(files['MANIFEST.txt'], /disk\.txt: df -h: it did not end within 2\.5 s/);
  t.match(files['firewall.txt'], /nft list ruleset: it prints too much/);
  t.match(files['MANIFEST.txt'], /status\.json: no service answers/);
  t.match(files['disk.txt'], /MemTotal/);

  await device.sh('umount /usr/local/sbin');
  execFileSync('chmod', ['-R', 'a+rwx', folder]);
  const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
  const mine = join(folder, 'own/mine.tar.gz');
  await device.sh(
    `${nobody.join(' ')} ${process.cwd()}/bin/tunnel-agent diagnose --no-network --bundle ${mine} || true`,
  );
  t.ok(existsSync(mine), 'also without root');
  t.match(unpack(t, mine)['MANIFEST.txt'], /run it as root[\s\S]*Could not be had:[\s\S]*sshd\.txt/);
});
