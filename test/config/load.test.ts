import { execFileSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { ConfigError } from '../../src/config/faults.ts';
import {
  type LoadedConfig,
  type LoadOptions,
  lastGoodPath,
  loadConfig,
  rememberGoodConfig,
} from '../../src/config/load.ts';
import { configText, showConfig } from '../../src/config/render.ts';
import { Failure } from '../../src/support/failures.ts';
import { makeCertificate } from '../support/certificates.ts';
import { requires } from '../support/requires.ts';

const TOKEN = 'f00dface-hush';
const IDENTITY = { MEETING_DEVICE_KEY: 'd'.repeat(32), MEETING_TOKEN: TOKEN, MEETING_PROXY_HOST: 'proxy.example' };

class Device {
  readonly folder: string;
  readonly configFile: string;
  readonly stateDir: string;

  constructor(folder: string) {
    this.folder = folder;
    this.configFile = join(folder, 'config.json');
    this.stateDir = join(folder, 'state');
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** Writes a file of the device, an object as JSON. */
  async write(name: string, content: unknown, mode = 0o600): Promise<string> {
    const path = this.path(name);
    await writeFile(
      path,
      typeof content === 'string' || content instanceof Uint8Array ? content : JSON.stringify(content),
    );
    await chmod(path, mode);
    return path;
  }

  load(env: Record<string, string> = {}, options: Partial<LoadOptions> = {}): Promise<LoadedConfig> {
    return loadConfig({
      env: { ZEROFORCE_STATE_DIR: this.stateDir, ...env },
      configFile: this.configFile,
      deployedFiles: { meeting: [this.path('rpi.json'), this.path('opt.json')], deviceInfo: this.path('info.json') },
      ...options,
    });
  }

  /** The faults of a configuration that must be refused. */
  async refused(env: Record<string, string> = {}, options: Partial<LoadOptions> = {}): Promise<ConfigError> {
    const error: unknown = await this.load(env, options).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    if (error instanceof ConfigError) return error;
    throw new Error('the configuration was not refused', { cause: error });
  }
}

/** A folder of its own; tap's testdir would have to follow links and modes. */
async function device(t: Test): Promise<Device> {
  const folder = await mkdtemp(join(tmpdir(), 'zeroforce-config-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return new Device(folder);
}

const keysOf = (error: ConfigError) => error.faults.map(({ key }) => key);
const codesOf = (loaded: LoadedConfig) => loaded.notices.map(({ code }) => code);

t.test('without any file the defaults of the issue apply', async (t) => {
  const { config, origin, notices } = await (await device(t)).load({ ZEROFORCE_STATE_DIR: '' });
  t.equal(origin, 'defaults');
  t.strictSame(JSON.parse(JSON.stringify(config)), {
    runDir: '/run/zeroforce',
    stateDir: '/var/lib/zeroforce',
    logLevel: 'info',
    transport: 'meeting',
    tunnel: { port: 8007 },
    monitor: { enabled: true, intervalMs: 5000, confirmMs: 0, count: 'local', netstat: 'netstat' },
    pairing: {
      policy: 'open',
      timeoutMs: 600_000,
      remember: true,
      authorizedKeysFile: '/root/.ssh/authorized_keys',
      keyOptions: null,
      allowedHosts: [],
      resetFile: '/boot/zeroforce-reset',
      resetButton: null,
    },
    mdns: { enabled: true, model: null },
    http: { host: '::', port: 5000 },
    meeting: null,
    ssh: null,
    meetingApi: null,
    services: { ssh: 22, http: 5000, vnc: 5900 },
    reconnect: { minMs: 1000, maxMs: 60_000 },
    handshakeTimeoutMs: 10_000,
  });
  t.match(notices, [{ code: 'identity.missing', sentence: /pairing runs alone/ }]);
});

t.test('the environment overrides the file, and every value knows its place', async (t) => {
  const d = await device(t);
  await d.write('config.json', { http: { port: 5001 }, tunnel: { port: 8100 }, monitor: { intervalSeconds: 0.25 } });
  const loaded = await d.load({ ZEROFORCE_HTTP_PORT: '5002', ZEROFORCE_TUNNEL_PORT: '' });
  t.equal(loaded.origin, 'file');
  t.equal(loaded.config.http.port, 5002);
  t.equal(loaded.config.tunnel.port, 8100, 'an empty variable is not set');
  t.equal(loaded.config.monitor.intervalMs, 250);
  const place = (key: string) => loaded.settings.find((setting) => setting.key === key);
  t.match(place('http.port'), { value: 5002, origin: 'environment', source: 'environment' });
  t.match(place('tunnel.port'), { value: 8100, origin: 'file', source: d.configFile });
  t.match(place('runDir'), { value: '/run/zeroforce', origin: 'default', source: null });
});

t.test('times become whole milliseconds, and never 0 unless 0 was meant', async (t) => {
  const { config } = await (await device(t)).load({
    ZEROFORCE_MONITOR_INTERVAL: '0.0001',
    ZEROFORCE_PAIRING_TIMEOUT: '16.1',
    ZEROFORCE_MONITOR_CONFIRM: '0',
    ZEROFORCE_HANDSHAKE_TIMEOUT: '2147483',
  });
  t.equal(config.monitor.intervalMs, 1);
  t.equal(config.pairing.timeoutMs, 16_100);
  t.equal(config.monitor.confirmMs, 0);
  t.ok(config.handshakeTimeoutMs < 2 ** 31, 'a timer can hold it');
});

t.test(
  'every fault of file and environment is reported at once, each with key, value, allowed and source',
  async (t) => {
    const d = await device(t);
    await d.write('config.json', {
      http: { port: 70000 },
      monitor: { count: 'all' },
      meeting: { token: ['hush'], proxy: { pin: 'zz' } },
      nonsense: 'hush',
    });
    const error = await d.refused({
      ZEROFORCE_TUNNEL_PORT: 'eighty',
      ZEROFORCE_MONITOR: 'maybe',
      MEETING_TOKEN: 'hush\n',
      ZEROFORCE_RECONNECT_MIN: '61',
    });
    t.type(error, Failure);
    t.equal(error.code, 'config.invalid');
    t.strictSame(error.faults[1], {
      key: 'monitor.count',
      value: '"all"',
      allowed: 'local, either',
      source: d.configFile,
    });
    t.strictSame(
      error.faults.map(({ key, value, source }) => [key, value, source]),
      [
        ['http.port', '70000', d.configFile],
        ['monitor.count', '"all"', d.configFile],
        ['meeting.token', '[secret]', d.configFile],
        ['meeting.proxy.pin', '"zz"', d.configFile],
        ['nonsense', '[a text]', d.configFile],
        ['ZEROFORCE_TUNNEL_PORT', '"eighty"', 'environment'],
        ['ZEROFORCE_MONITOR', '"maybe"', 'environment'],
        ['MEETING_TOKEN', '[secret]', 'environment'],
        ['ZEROFORCE_RECONNECT_MIN', '61', 'environment'],
      ],
    );
    const report = error.report();
    t.match(report, /^The configuration has 9 faults:\n/);
    for (const { key, allowed, source } of error.faults) {
      const line = report.split('\n').find((one) => one.startsWith(`  ${key}`));
      t.ok(line?.includes(allowed) && line.includes(source), key);
    }
    t.notMatch(`${report}${error.message}${JSON.stringify(error)}${error.stack}`, 'hush');
  },
);

t.test('values in a report are shortened and cannot drive a terminal', async (t) => {
  const d = await device(t);
  const error = await d.refused({
    ZEROFORCE_HTTP_HOST: 'x'.repeat(100_000),
    LOG_LEVEL: '\x1b[2Jinfo\r\n\u202egood\x9b',
  });
  t.ok(error.report().length < 1000);
  t.match(error.report(), '"\\u001b[2Jinfo\\r\\n\\u202egood\\u009b"');
  t.notMatch(error.report(), /[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/);
});

t.test('values that do not fit each other are faults', async (t) => {
  const d = await device(t);
  await d.write('config.json', { reconnect: { minSeconds: 10, maxSeconds: 5 }, http: { port: 8007 } });
  const error = await d.refused();
  t.strictSame(keysOf(error), ['reconnect.minSeconds', 'http.port']);
  t.match(error.faults[0], {
    value: '10',
    allowed: /\(10\) not above reconnect\.maxSeconds \(5\)/,
    source: d.configFile,
  });
  await t.resolves(d.load({ ZEROFORCE_RECONNECT_MIN: '5', ZEROFORCE_HTTP_PORT: '5000' }), 'the environment mends both');
  t.strictSame(keysOf(await d.refused({ ZEROFORCE_RECONNECT_MAX: 'x', ZEROFORCE_HTTP_PORT: '1' })), [
    'ZEROFORCE_RECONNECT_MAX',
  ]);
});

t.test('what the environment sets wrongly over a file is told with the file where that takes part', async (t) => {
  const d = await device(t);
  await d.write('config.json', { reconnect: { maxSeconds: 5 } });
  t.match((await d.refused({ ZEROFORCE_RECONNECT_MIN: '6' })).faults, [
    { key: 'reconnect.maxSeconds', source: d.configFile },
  ]);
});

t.test('unusable files are faults with their reason', async (t) => {
  const utf16 = Buffer.from('\ufeff{}', 'utf16le');
  const cases: [string, unknown, RegExp][] = [
    ['nothing in it', '', /valid JSON, here a value/],
    ['a list', '[]', /an object/],
    ['a comma too many', '{"http":{},}', /a key in double quotes/],
    ['a repeated key', '{"http":{},"http":{}}', /does not stand in this object already/],
    ['UTF-16', utf16, /UTF-8 text/],
    ['binary', Buffer.from([0x7f, 0x45, 0x4c, 0x46, 0, 0, 0]), /valid JSON/],
    ['Latin-1', Buffer.from('{"a":"ä"}', 'latin1'), /UTF-8 text/],
    ['65,537 bytes', `{}${' '.repeat(65_535)}`, /at most 65536 bytes/],
    ['10 MB', Buffer.alloc(10_000_000, ' '), /at most 65536 bytes/],
    ['deep nesting', '{"a":'.repeat(10_000), /at most 32 levels/],
  ];
  for (const [name, content, allowed] of cases) {
    const d = await device(t);
    await d.write('config.json', content);
    t.match((await d.refused()).faults, [{ allowed, source: d.configFile }], name);
  }
  const d = await device(t);
  await mkdir(d.configFile);
  t.match((await d.refused()).faults, [{ key: '(whole file)', allowed: 'a regular file' }], 'a folder');
  execFileSync('mkfifo', [d.path('fifo')]);
  t.match((await d.refused({}, { configFile: d.path('fifo') })).faults, [{ allowed: 'a regular file' }], 'a FIFO');
  t.match((await d.refused({}, { configFile: '/dev/zero' })).faults, [{ allowed: 'a regular file' }], 'a device');
  await symlink('loop', d.path('loop'));
  t.match((await d.refused({}, { configFile: d.path('loop') })).faults, [{ allowed: /ring of links/ }], 'a loop');
  await d.write('plain', 'x');
  t.match((await d.refused({}, { configFile: d.path('plain/c') })).faults, [{ allowed: /folders only/ }], 'no folder');
});

t.test('a byte order mark, CRLF and a link to the file do no harm', async (t) => {
  const d = await device(t);
  await d.write('real.json', '\ufeff{\r\n  "http": {\r\n    "port": 5009\r\n  }\r\n}\r\n');
  await symlink('real.json', d.configFile);
  t.equal((await d.load()).config.http.port, 5009);
});

t.test('a missing file is a fault only where it was asked for by name', async (t) => {
  const d = await device(t);
  t.equal((await d.load()).origin, 'defaults');
  t.match((await d.refused({}, { mustExist: true })).faults, [{ allowed: 'a file that exists', source: d.configFile }]);
  await d.write('config.json', {});
  t.equal((await d.load({}, { mustExist: true })).origin, 'file');
});

t.test('a file of exactly 64 KiB is read', async (t) => {
  const d = await device(t);
  await d.write('config.json', `{}${' '.repeat(65_534)}`);
  t.equal((await d.load()).origin, 'file');
});

t.test('a file that the service may not read is a fault', requires('root'), async (t) => {
  const d = await device(t);
  await d.write('config.json', {});
  await chmod(d.folder, 0o755);
  process.seteuid?.(65_534);
  t.teardown(() => process.seteuid?.(0));
  const error = await d.refused();
  process.seteuid?.(0);
  t.match(error.faults, [{ key: '(whole file)', allowed: 'a file that the service may read', source: d.configFile }]);
});

t.test('the last configuration that worked', async (t) => {
  const good = { http: { port: 5005 }, meeting: { deviceKey: 'k', token: TOKEN, proxy: { host: 'p.example' } } };

  /** A device that ran well once and whose file is now broken. */
  async function broken(t: Test, content: unknown, first: unknown = good): Promise<Device> {
    const d = await device(t);
    await d.write('config.json', first);
    await rememberGoodConfig(await d.load());
    await d.write('config.json', content);
    return d;
  }

  t.test('runs where the file is broken, and says so with every fault', async (t) => {
    for (const content of ['{', '', { http: { port: 0 } }, { htpp: {} }, Buffer.alloc(100_000), '[]']) {
      const d = await broken(t, content);
      const loaded = await d.load();
      t.equal(loaded.origin, 'last-good');
      t.equal(loaded.config.http.port, 5005);
      t.equal(loaded.config.meeting?.token.reveal(), TOKEN);
      const [notice] = loaded.notices;
      t.equal(notice?.code, 'config.last-good');
      t.match(notice?.sentence, `${d.configFile} is broken`);
      t.match(notice?.sentence, /allowed: .*; from: /);
      t.match(
        loaded.settings.find(({ key }) => key === 'http.port'),
        { value: 5005, origin: 'last-good', source: lastGoodPath(d.stateDir) },
      );
    }
  });

  t.test('takes the environment as it is now', async (t) => {
    const d = await broken(t, '{');
    t.equal((await d.load({ ZEROFORCE_HTTP_PORT: '5006' })).config.http.port, 5006);
  });

  t.test('never hides a wrong variable', async (t) => {
    const d = await broken(t, '{');
    const error = await d.refused({ ZEROFORCE_HTTP_PORT: 'x', LOG_LEVEL: 'loud' });
    t.strictSame(keysOf(error), ['line 1, column 2', 'LOG_LEVEL', 'ZEROFORCE_HTTP_PORT']);
    t.strictSame(keysOf(await d.refused({ ZEROFORCE_RECONNECT_MIN: '61' })), [
      'line 1, column 2',
      'ZEROFORCE_RECONNECT_MIN',
    ]);
  });

  t.test('is not used by a strict check, nor where the file is good or absent', async (t) => {
    const d = await broken(t, '{');
    await d.refused({}, { strict: true });
    await d.write('config.json', {});
    t.equal((await d.load()).config.http.port, 5000);
    await rm(d.configFile);
    const loaded = await d.load();
    t.equal(loaded.origin, 'defaults');
    t.equal(loaded.config.http.port, 5000);
  });

  t.test('is no help where there is none, or where it is broken too', async (t) => {
    const d = await device(t);
    await d.write('config.json', '{');
    t.strictSame(keysOf(await d.refused()), ['line 1, column 2']);
    await mkdir(d.stateDir);
    await writeFile(lastGoodPath(d.stateDir), '{"http":{"port":0}}');
    const error = await d.refused();
    t.strictSame(keysOf(error), ['line 1, column 2', 'http.port']);
    t.equal(error.faults[1]?.source, lastGoodPath(d.stateDir));
  });

  t.test('mends half an identity that an edit of the file left', async (t) => {
    const d = await broken(t, { meeting: { deviceKey: 'k', proxy: { host: 'p.example' } } });
    t.equal((await d.load()).origin, 'last-good');
  });

  t.test('runs without a tunnel where the file of the token was lost', async (t) => {
    const d = await device(t);
    const tokenFile = await d.write('token', TOKEN);
    const proxy = { host: 'p.example' };
    await d.write('config.json', { http: { port: 5005 }, meeting: { deviceKey: 'k', tokenFile, proxy } });
    await rememberGoodConfig(await d.load());
    t.equal((await d.load()).config.meeting?.token.reveal(), TOKEN);
    await rm(tokenFile);
    const loaded = await d.load();
    t.equal(loaded.origin, 'last-good');
    t.equal(loaded.config.http.port, 5005);
    t.equal(loaded.config.meeting, null);
    t.strictSame(codesOf(loaded), ['config.last-good', 'identity.token-file', 'identity.missing']);
    t.match(loaded.notices[1]?.sentence, tokenFile);
    t.equal(loaded.fileText, null, 'it is not kept as one that works');

    t.strictSame(keysOf(await d.refused({}, { strict: true })), ['meeting.tokenFile'], 'a strict check stays strict');
    const named = await d.refused({ MEETING_TOKEN_FILE: tokenFile });
    t.strictSame(keysOf(named), ['MEETING_TOKEN_FILE'], 'a variable is never passed over');
    await d.write('config.json', '{');
    t.equal((await d.load()).config.http.port, 5005, 'with a broken file too');
    await writeFile(
      lastGoodPath(d.stateDir),
      JSON.stringify({ http: { port: 0 }, meeting: { deviceKey: 'k', tokenFile, proxy } }),
    );
    t.strictSame(keysOf(await d.refused()), ['line 1, column 2', 'http.port', 'meeting.tokenFile']);
  });

  t.test('is found where the broken file moved the state folder to', async (t) => {
    const d = await device(t);
    const env = { ZEROFORCE_STATE_DIR: '' };
    await d.write('config.json', { stateDir: d.path('moved'), http: { port: 5005 } });
    await rememberGoodConfig(await d.load(env));
    for (const content of [
      `{ "stateDir": "${d.path('moved')}", "http": `,
      `{ "ZEROFORCE_STATE_DIR": "${d.path('moved')}", "http": `,
      { stateDir: d.path('moved'), http: { port: 'x' } },
    ]) {
      await d.write('config.json', content);
      t.equal((await d.load(env)).config.http.port, 5005);
    }
  });

  t.test('is the text of the file, without the environment, for the owner alone', async (t) => {
    const d = await device(t);
    const text = `${JSON.stringify(good, null, 4)}\r\n`;
    await d.write('config.json', text, 0o644);
    await rememberGoodConfig(await d.load({ ZEROFORCE_HTTP_PORT: '5999' }));
    t.equal(await readFile(lastGoodPath(d.stateDir), 'utf8'), text);
    t.equal((await stat(lastGoodPath(d.stateDir))).mode & 0o777, 0o600);
    t.equal((await stat(d.stateDir)).mode & 0o777, 0o700);
    t.strictSame(await readdir(d.stateDir), ['config.last-good.json'], 'no temporary file is left');
  });

  t.test('is written only when it changed', async (t) => {
    const d = await device(t);
    await d.write('config.json', good);
    const inode = async () => (await stat(lastGoodPath(d.stateDir))).ino;
    await rememberGoodConfig(await d.load());
    const first = await inode();
    await rememberGoodConfig(await d.load());
    t.equal(await inode(), first, 'the same file');
    await d.write('config.json', { http: { port: 5007 } });
    await rememberGoodConfig(await d.load());
    t.match(await readFile(lastGoodPath(d.stateDir), 'utf8'), '5007');
    await chmod(lastGoodPath(d.stateDir), 0o644);
    await rememberGoodConfig(await d.load());
    t.equal((await stat(lastGoodPath(d.stateDir))).mode & 0o777, 0o600, 'a mode that others opened is closed again');
  });

  t.test('is not replaced while it runs itself, nor by defaults', async (t) => {
    const d = await broken(t, '{');
    await rememberGoodConfig(await d.load());
    t.match(JSON.parse(await readFile(lastGoodPath(d.stateDir), 'utf8')), good);
    await rm(d.configFile);
    await rememberGoodConfig(await d.load());
    t.match(JSON.parse(await readFile(lastGoodPath(d.stateDir), 'utf8')), good);
  });

  t.test('that cannot be kept is a failure with its place', async (t) => {
    const d = await device(t);
    await d.write('config.json', {});
    await d.write('state', 'a file where the folder should be');
    await t.rejects(rememberGoodConfig(await d.load()), {
      code: 'state.unwritable',
      message: /config\.last-good\.json/,
    });
  });
});

t.test('identity', async (t) => {
  t.test('is complete with device key, token and proxy', async (t) => {
    const loaded = await (await device(t)).load(IDENTITY);
    t.match(loaded.config.meeting, {
      deviceKey: 'd'.repeat(32),
      proxy: { host: 'proxy.example', port: 9001, tls: false, ca: null, pin: null },
    });
    t.equal(loaded.config.meeting?.token.reveal(), TOKEN);
    t.strictSame(loaded.notices, []);
  });

  t.test('that is half is a fault for each part that is missing', async (t) => {
    const d = await device(t);
    const parts: [string[], string[]][] = [
      [['MEETING_DEVICE_KEY'], ['MEETING_TOKEN', 'MEETING_PROXY_HOST']],
      [['MEETING_TOKEN'], ['MEETING_DEVICE_KEY', 'MEETING_PROXY_HOST']],
      [['MEETING_TOKEN', 'MEETING_PROXY_HOST'], ['MEETING_DEVICE_KEY']],
      [['MEETING_DEVICE_KEY', 'MEETING_PROXY_HOST'], ['MEETING_TOKEN']],
      [['MEETING_DEVICE_KEY', 'MEETING_TOKEN'], ['MEETING_PROXY_HOST']],
    ];
    for (const [given, missing] of parts) {
      const env = Object.fromEntries(Object.entries(IDENTITY).filter(([name]) => given.includes(name)));
      const error = await d.refused(env);
      t.strictSame(keysOf(error), missing);
      t.match(error.faults[0], { value: 'not set', allowed: /needs it$/, source: 'environment' });
    }
    await d.write('config.json', { meeting: { deviceKey: 'k' } });
    t.strictSame(keysOf(await d.refused({ MEETING_TOKEN: TOKEN })), ['meeting.proxy.host']);
  });

  t.test('is not missing where its value was refused', async (t) => {
    const error = await (await device(t)).refused({ ...IDENTITY, MEETING_TOKEN: 'a\nb' });
    t.strictSame(keysOf(error), ['MEETING_TOKEN']);
  });

  t.test('may be absent: the address of a proxy alone, or transport none, is no fault', async (t) => {
    const d = await device(t);
    const fleet = await d.load({ MEETING_PROXY_HOST: 'proxy.example', MEETING_PROXY_TLS: '1' });
    t.equal(fleet.config.meeting, null);
    t.strictSame(codesOf(fleet), ['identity.missing']);
    const none = await d.load({ ZEROFORCE_TRANSPORT: 'none', MEETING_DEVICE_KEY: 'k', MEETING_TOKEN_FILE: '/nowhere' });
    t.equal(none.config.meeting, null);
    t.strictSame(none.notices, []);
  });

  t.test('with an authority or a pin and without TLS is reported as unprotected', async (t) => {
    const d = await device(t);
    t.strictSame(codesOf(await d.load({ ...IDENTITY, MEETING_PROXY_PIN: 'ab'.repeat(32) })), ['proxy.tls-off']);
    t.strictSame(codesOf(await d.load({ ...IDENTITY, MEETING_PROXY_CA: '/ca.pem' })), ['proxy.tls-off']);
    t.strictSame(
      codesOf(await d.load({ ...IDENTITY, MEETING_PROXY_PIN: 'ab'.repeat(32), MEETING_PROXY_TLS: 'on' })),
      [],
    );
  });
});

t.test('the identity for an SSH gateway', async (t) => {
  const HOST_KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO9N5NQ8pXkUQ9JcEtmNTBvX6QH3vXo9cXhbQb3XoKfM';
  const SSH = {
    ZEROFORCE_TRANSPORT: 'ssh',
    ZEROFORCE_SSH_HOST: 'gateway.example',
    ZEROFORCE_SSH_TOKEN: TOKEN,
    ZEROFORCE_SSH_HOST_KEY: HOST_KEY,
  };
  const without = (...names: string[]) =>
    Object.fromEntries(Object.entries(SSH).filter(([name]) => !names.includes(name)));

  t.test('is complete with token, host and host key', async (t) => {
    const { config, notices } = await (await device(t)).load(SSH);
    t.match(config.ssh, {
      host: 'gateway.example',
      port: 2222,
      hostKey: HOST_KEY,
      trustFirst: false,
      forwards: { ssh: 22, http: 80 },
      program: 'ssh',
    });
    t.equal(config.ssh?.token.reveal(), TOKEN);
    t.equal(config.meeting, null);
    t.strictSame(notices, []);
  });

  t.test('that is half is a fault for each part that is missing', async (t) => {
    const d = await device(t);
    for (const missing of [
      ['ZEROFORCE_SSH_HOST'],
      ['ZEROFORCE_SSH_HOST_KEY'],
      ['ZEROFORCE_SSH_HOST', 'ZEROFORCE_SSH_HOST_KEY'],
    ]) {
      const error = await d.refused(without(...missing));
      t.strictSame(keysOf(error), missing);
      t.match(error.faults[0], { value: 'not set', allowed: /ZEROFORCE_SSH_TOKEN needs it$/ });
      t.notMatch(error.report(), TOKEN);
    }
  });

  t.test('needs no host key where the first may be trusted', async (t) => {
    const env = { ...without('ZEROFORCE_SSH_HOST_KEY'), ZEROFORCE_SSH_TRUST_FIRST: '1' };
    t.match((await (await device(t)).load(env)).config.ssh, { hostKey: null, trustFirst: true });
  });

  t.test('may be absent: then pairing runs alone, and says so', async (t) => {
    const d = await device(t);
    for (const env of [
      { ZEROFORCE_TRANSPORT: 'ssh' },
      without('ZEROFORCE_SSH_TOKEN'),
      { ...IDENTITY, ...SSH, ZEROFORCE_SSH_TOKEN: '' },
    ]) {
      const loaded = await d.load(env);
      t.equal(loaded.config.ssh, null);
      t.equal(loaded.config.meeting, null, 'there is one transport, and it was chosen');
      t.match(loaded.notices, [{ code: 'identity.missing', sentence: /SSH gateway/ }]);
    }
    t.equal((await d.load({ ...IDENTITY, ...SSH, ZEROFORCE_TRANSPORT: 'meeting' })).config.ssh, null);
  });

  t.test('may have its token in a file', async (t) => {
    const d = await device(t);
    const rest = without('ZEROFORCE_SSH_TOKEN');
    const env = (path: string) => ({ ...rest, ZEROFORCE_SSH_TOKEN_FILE: path });
    t.equal((await d.load(env(await d.write('token', `${TOKEN}\n`)))).config.ssh?.token.reveal(), TOKEN);
    for (const [path, allowed] of [
      ['/nowhere/token', /a file that exists/],
      [await d.write('blank', `${TOKEN} ${TOKEN}`), /holds a token/],
      [await d.write('option', '-oProxyCommand=x'), /holds a token/],
    ] as const) {
      const error = await d.refused(env(path));
      t.match(error.faults, [{ key: 'ZEROFORCE_SSH_TOKEN_FILE', allowed }]);
      t.notMatch(error.report(), TOKEN);
    }
    const both = { ...SSH, ZEROFORCE_SSH_TOKEN_FILE: await d.write('token', TOKEN) };
    t.strictSame(keysOf(await d.refused(both)), ['ZEROFORCE_SSH_TOKEN']);
    await t.resolves(d.load({ ...IDENTITY, ZEROFORCE_SSH_TOKEN_FILE: '/nowhere/token' }), 'unless it is not used');
  });

  t.test('never forwards the port of the pairing routes', async (t) => {
    const d = await device(t);
    const error = await d.refused({ ...SSH, ZEROFORCE_SSH_FORWARDS: 'ssh=22,web=5000' });
    t.match(error.faults, [{ key: 'ZEROFORCE_SSH_FORWARDS', allowed: /pairing is never reached through the gateway/ }]);
    t.strictSame(keysOf(await d.refused({ ...SSH, ZEROFORCE_HTTP_PORT: '80' })), ['ZEROFORCE_HTTP_PORT']);
    const moved = { ...SSH, ZEROFORCE_SSH_FORWARDS: 'web=5000', ZEROFORCE_HTTP_PORT: '5001' };
    t.strictSame((await d.load(moved)).config.ssh?.forwards, { web: 5000 });
    await t.resolves(d.load({ ...IDENTITY, ZEROFORCE_SSH_FORWARDS: 'web=5000' }), 'nor matters with another transport');
  });
});

t.test('the file of the token', async (t) => {
  const env = (path: string) => ({ ...IDENTITY, MEETING_TOKEN: '', MEETING_TOKEN_FILE: path });

  t.test('gives the token without the white space around it', async (t) => {
    const d = await device(t);
    for (const text of [TOKEN, `${TOKEN}\n`, `${TOKEN}\r\n`, `${TOKEN}\n\n`, ` \t${TOKEN} \n`]) {
      const loaded = await d.load(env(await d.write('token', text)));
      t.equal(loaded.config.meeting?.token.reveal(), TOKEN);
      t.match(
        loaded.settings.find(({ key }) => key === 'meeting.token'),
        { value: '[secret]', origin: 'environment' },
      );
    }
  });

  t.test('that cannot be used is a fault of the option that names it', async (t) => {
    const d = await device(t);
    const cases: [string, RegExp][] = [
      [d.path('nowhere'), /exists/],
      [d.folder, /regular file/],
      ['/dev/zero', /regular file/],
      [await d.write('empty', ''), /holds a token/],
      [await d.write('newline', '\n'), /holds a token/],
      [await d.write('two', `${TOKEN}\n${TOKEN}\n`), /holds a token/],
      [await d.write('long', 'x'.repeat(4097)), /at most 4096 bytes/],
    ];
    for (const [path, allowed] of cases) {
      const error = await d.refused(env(path));
      t.match(error.faults, [{ key: 'MEETING_TOKEN_FILE', allowed, source: 'environment' }], path);
      t.equal(error.faults.length, 1, path);
      t.notMatch(error.report(), TOKEN);
    }
  });

  t.test('that is the token itself by mistake does not show it', async (t) => {
    t.notMatch((await (await device(t)).refused(env(TOKEN))).report(), TOKEN);
  });

  t.test('and the token exclude each other in one place; the environment wins over the file', async (t) => {
    const d = await device(t);
    const path = await d.write('token', 'from-the-file');
    t.match((await d.refused({ ...IDENTITY, MEETING_TOKEN_FILE: path })).faults, [
      { key: 'MEETING_TOKEN', value: '[secret]', allowed: 'one of MEETING_TOKEN and MEETING_TOKEN_FILE, not both' },
    ]);
    await d.write('config.json', { meeting: { tokenFile: '/nowhere' } });
    t.equal((await d.load(IDENTITY)).config.meeting?.token.reveal(), TOKEN);
    await d.write('config.json', { meeting: { token: 'weaker' } });
    t.equal((await d.load(env(path))).config.meeting?.token.reveal(), 'from-the-file');
  });

  t.test('or the configuration file with a token, open to others, is a notice', async (t) => {
    const d = await device(t);
    t.strictSame(codesOf(await d.load(env(await d.write('token', TOKEN, 0o644)))), ['config.exposed']);
    t.strictSame(codesOf(await d.load(env(await d.write('token', TOKEN, 0o640)))), [], 'a group is a decision');
    const meeting = { deviceKey: 'k', token: TOKEN, proxy: { host: 'p.example' } };
    await d.write('config.json', { meeting }, 0o640);
    t.strictSame(codesOf(await d.load()), [], 'so it is here');
    await d.write('config.json', { meeting }, 0o644);
    t.match((await d.load()).notices, [{ code: 'config.exposed', sentence: d.configFile }]);
    await d.write('config.json', { meeting: { ...meeting, token: '' } }, 0o644);
    t.strictSame(codesOf(await d.load({ MEETING_TOKEN: TOKEN })), []);
  });
});

t.test('a CA file of the proxy that cannot be used is a notice, in a strict check too', async (t) => {
  const d = await device(t);
  const codes = async (ca: string, env: Record<string, string> = {}) =>
    codesOf(await d.load({ ...IDENTITY, MEETING_PROXY_TLS: '1', MEETING_PROXY_CA: ca, ...env }, { strict: true }));
  for (const ca of [d.path('nowhere.pem'), d.folder, await d.write('garbage.pem', 'no certificate')]) {
    t.strictSame(await codes(ca), ['config.ca-unreadable'], ca);
    t.strictSame(await codes(ca, { MEETING_PROXY_TLS: '0' }), ['proxy.tls-off']);
    t.strictSame(await codes(ca, { ZEROFORCE_TRANSPORT: 'none' }), []);
  }
  t.strictSame(await codes(makeCertificate(d.folder, 'proxy.example').path), []);
});

t.test('an API without TLS is a notice that names what can be forged, but not on this machine', async (t) => {
  const d = await device(t);
  const noticesOf = async (url: string, env: Record<string, string> = {}) =>
    (await d.load({ ...IDENTITY, MEETING_API_URL: url, ...env }, { strict: true })).notices;
  for (const url of [
    'http://10.0.0.1',
    'http://meeting.example/api',
    'http://[fe80::1]:80',
    'http://127.evil.example',
  ]) {
    t.match(await noticesOf(url), [{ code: 'meeting.api-plain', sentence: /read the token$/ }], url);
  }
  const forged = { MEETING_KNOWN_HOSTS_FILE: '/x/known_hosts', MEETING_MAINTENANCE_KEYS_FILES: '/x/keys' };
  const [notice] = await noticesOf('http://10.0.0.1', forged);
  t.match(notice?.sentence, /forge the host keys.*and have a key of their own let in as a maintenance user/);
  for (const url of ['https://meeting.example', 'http://localhost:8080', 'http://127.0.0.1', 'http://[::1]:80']) {
    t.strictSame(await noticesOf(url, forged), [], url);
  }
});

t.test('files of deployed software', async (t) => {
  const meeting = {
    device_key: 'a'.repeat(32),
    token_code: TOKEN,
    tunnel_host: 'old.example',
    tunnel_port: 9002,
    tunnel_ssl: true,
    api_url: 'https://old.example/api',
    heartbeat_interval: 60,
    something: { else: [] },
  };

  t.test('are read where our file is absent', async (t) => {
    const d = await device(t);
    await d.write('rpi.json', meeting);
    await d.write('opt.json', { ...meeting, tunnel_host: 'not-this.example' });
    const loaded = await d.load();
    t.equal(loaded.origin, 'deployed');
    t.match(loaded.config.meeting, {
      deviceKey: 'a'.repeat(32),
      proxy: { host: 'old.example', port: 9002, tls: true },
    });
    t.equal(loaded.config.meeting?.token.reveal(), TOKEN);
    t.match(
      loaded.settings.find(({ key }) => key === 'meeting.proxy.host'),
      { origin: 'deployed', source: d.path('rpi.json') },
    );
    t.strictSame(loaded.notices, []);
    t.equal((await d.load({ MEETING_PROXY_HOST: 'new.example' })).config.meeting?.proxy.host, 'new.example');
    await d.write('config.json', {});
    t.equal((await d.load()).config.meeting, null, 'not read beside a file of ours');
  });

  t.test('may write numbers and truth in any way seen in the field', async (t) => {
    const d = await device(t);
    for (const [ssl, tls] of [
      [true, true],
      [1, true],
      ['true', true],
      ['1', true],
      [false, false],
      [0, false],
      ['False', false],
      [null, false],
    ]) {
      await d.write('opt.json', { ...meeting, tunnel_port: '9002', tunnel_ssl: ssl });
      const { config, notices } = await d.load();
      t.match(config.meeting?.proxy, { port: 9002, tls });
      t.strictSame(notices, []);
    }
  });

  t.test('complete each other: device_info gives a missing device key only', async (t) => {
    const d = await device(t);
    await d.write('info.json', { device_key: 'b'.repeat(32), model: 'x' });
    await d.write('rpi.json', { ...meeting, device_key: undefined });
    t.equal((await d.load()).config.meeting?.deviceKey, 'b'.repeat(32));
    await d.write('rpi.json', meeting);
    t.equal((await d.load()).config.meeting?.deviceKey, 'a'.repeat(32));
  });

  t.test('that are incomplete leave pairing alone', async (t) => {
    const d = await device(t);
    await d.write('info.json', { device_key: 'b'.repeat(32) });
    const loaded = await d.load();
    t.equal(loaded.config.meeting, null);
    t.strictSame(codesOf(loaded), ['identity.missing']);
    t.equal((await d.load({ MEETING_PROXY_HOST: 'p.example' })).config.meeting, null);
    t.ok((await d.load({ MEETING_PROXY_HOST: 'p.example', MEETING_TOKEN: TOKEN })).config.meeting);
  });

  t.test('that are broken are named in a notice and do not stop pairing', async (t) => {
    for (const content of ['{', '[]', '"x"', Buffer.alloc(100_000), Buffer.from([0xff, 0xfe])]) {
      const d = await device(t);
      await d.write('rpi.json', content);
      const loaded = await d.load();
      t.strictSame(codesOf(loaded), ['config.deployed-broken', 'identity.missing']);
      t.match(loaded.notices[0]?.sentence, d.path('rpi.json'));
      await d.write('opt.json', meeting);
      t.equal((await d.load()).config.meeting?.proxy.host, 'old.example', 'the next one is taken');
    }
  });

  t.test('with a wrong value lose that value, by name and without a secret', async (t) => {
    const d = await device(t);
    await d.write('rpi.json', { ...meeting, tunnel_port: 0, token_code: `${TOKEN}\n` });
    const loaded = await d.load();
    t.strictSame(codesOf(loaded), ['config.deployed-broken', 'config.deployed-broken', 'identity.missing']);
    t.match(loaded.notices[1]?.sentence, /tunnel_port = 0; allowed: a whole number/);
    t.notMatch(JSON.stringify(loaded), TOKEN);
  });
});

t.test('unknown variables with our prefixes are a notice without their value', async (t) => {
  const { notices } = await (await device(t)).load({ ...IDENTITY, MEETING_TOKNE: 'hush', ZEROFORCE_LATER: '1' });
  t.strictSame(notices, [
    {
      code: 'config.unknown-variable',
      sentence: 'MEETING_TOKNE is not an option and is ignored; perhaps MEETING_TOKEN is meant',
    },
    { code: 'config.unknown-variable', sentence: 'ZEROFORCE_LATER is not an option and is ignored' },
  ]);
});

t.test('a token appears nowhere, wherever it was planted', async (t) => {
  const d = await device(t);
  const seen: string[] = [];
  const note = async (env: Record<string, string>) => {
    await d.load(env).then(
      (loaded) =>
        seen.push(JSON.stringify(loaded), configText(showConfig(loaded)), String(loaded.config.meeting?.token)),
      (error: ConfigError) => seen.push(error.report(), error.message, JSON.stringify(error), String(error.stack)),
    );
  };
  await note({ ...IDENTITY, ZEROFORCE_HTTP_PORT: 'x' });
  await note(IDENTITY);
  await note({ ...IDENTITY, MEETING_TOKEN: `${TOKEN}\0` });
  await note({ ...IDENTITY, MEETING_TOKEN: '', MEETING_TOKEN_FILE: TOKEN });
  await note({ ...IDENTITY, MEETING_TOKEN_FILE: await d.write('token', TOKEN) });
  for (const content of [
    { meeting: { token: TOKEN, deviceKey: 'k', proxy: { host: 'p' } } },
    { meeting: { token: TOKEN, http: 1 } },
    { meeting: { tokn: TOKEN } },
    { meeting: TOKEN },
    { meeting: [TOKEN] },
    { meeting: { proxy: { host: { token: TOKEN } }, token: [TOKEN] } },
    { meetin: { token: TOKEN } },
    { services: { [TOKEN.toUpperCase()]: TOKEN } },
    { pairing: { allowedHosts: [`${TOKEN} `] } },
    { MEETING_TOKEN: { a: TOKEN } },
    `{"meeting":{"token":"${TOKEN}" x}}`,
    `{"meeting":{"token":${TOKEN}}}`,
    `{"meeting":{"token":"${TOKEN}}}`,
    `"${TOKEN}"`,
  ]) {
    await d.write('config.json', content);
    await note({});
  }
  t.ok(seen.length > 40);
  for (const text of seen) t.notMatch(text.toLowerCase(), TOKEN);
});
