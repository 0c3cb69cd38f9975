import t from 'tap';
import { ConfigError, type Fault, printable } from '../../src/config/faults.ts';
import { loadGatewayConfig } from '../../src/config/gateway.ts';
import { GATEWAY_VARIABLES, type GatewayVariable, gatewayOptionOf } from '../../src/config/gateway-options.ts';
import type { GatewayConfig } from '../../src/config/gateway-types.ts';
import { FAILURES } from '../../src/support/failures.ts';

/** What an option makes of a text, as the configuration has it; `bad` must be refused. */
interface Case {
  read: (config: GatewayConfig) => unknown;
  good: [string, unknown][];
  bad: string[];
  /** Without which the value would be a fault together with the defaults. */
  beside?: Record<string, string>;
}

const NO_PATH = ['tmp', './x', ' /x', '/a\nb', '/a\0b', `/${'x'.repeat(1024)}`];
const NO_HOST = ['1.2.3.999', '[::1]', '[::]', 'a b', 'http://x', 'x:80', '-x', '*', 'a..b'];
const NO_PORT = ['65536', '-1', '80.5', 'http', '0x50', '1e3', 'NaN', ' '];
const NO_COUNT = ['0', '-1', '1.5', '100001', 'ten', 'Infinity'];
const NO_WAIT = ['0', '-1', '600.1', 'ten', '5s', 'NaN', '1,5'];
const HOSTS = ['::', '0.0.0.0', '127.0.0.1', '::1', 'gateway.example.org', 'localhost'];
const TLS = { GATEWAY_TLS_CERT: '/c.pem', GATEWAY_TLS_KEY: '/k.pem' };
const TOKEN = '0123456789abcdef';

const host = (read: Case['read'], beside?: Case['beside']): Case => ({
  read,
  good: HOSTS.map((name): [string, unknown] => [name, name]),
  bad: NO_HOST,
  ...(beside === undefined ? {} : { beside }),
});
const port = (read: Case['read']): Case => ({
  read,
  good: [
    ['0', 0],
    ['1', 1],
    [' 65535 ', 65535],
  ],
  bad: NO_PORT,
});
const wait = (read: Case['read'], beside: Case['beside'] = {}): Case => ({
  read,
  good: [
    ['0.25', 250],
    ['600', 600_000],
    ['0.0001', 1],
  ],
  bad: NO_WAIT,
  beside,
});
const count = (read: Case['read']): Case => ({
  read,
  good: [
    ['1', 1],
    ['100000', 100_000],
  ],
  bad: NO_COUNT,
});

const CASES: Record<GatewayVariable, Case> = {
  GATEWAY_DATA_DIR: { read: (config) => config.dataDir, good: [['/srv/a b', '/srv/a b']], bad: NO_PATH },
  GATEWAY_AGENT_HOST: host(({ agent }) => agent.host),
  GATEWAY_AGENT_PORT: port(({ agent }) => agent.port),
  GATEWAY_AGENT_TLS: {
    read: ({ agent }) => agent.tls,
    good: [
      ['off', 'off'],
      ['Optional', 'optional'],
      ['required', 'required'],
    ],
    bad: ['on', '1', 'tls'],
    beside: TLS,
  },
  GATEWAY_SSH_HOST: host(({ ssh }) => ssh.host),
  GATEWAY_SSH_PORT: port(({ ssh }) => ssh.port),
  GATEWAY_HTTP_HOST: host(({ http }) => http.host, TLS),
  GATEWAY_HTTP_PORT: port(({ http }) => http.port),
  GATEWAY_HTTP_INSECURE: {
    read: ({ http }) => http.insecure,
    good: [
      ['1', true],
      ['off', false],
    ],
    bad: ['yes', '2'],
  },
  GATEWAY_BIND_HOST: host(({ bindHost }) => bindHost),
  GATEWAY_PUBLIC_HOST: host(({ publicHost }) => publicHost),
  GATEWAY_PORT_RANGE: {
    read: ({ portRange }) => portRange,
    good: [
      ['20000-20001', { start: 20_000, end: 20_001 }],
      [' 10000 - 65535 ', { start: 10_000, end: 65_535 }],
    ],
    bad: ['40000', '40000-', '-', '20000-20000', '20001-20000', '0-100', '60000-65536', '1-2-3', '1..5', 'all'],
  },
  GATEWAY_LEASE_SECONDS: {
    read: ({ leaseMs }) => leaseMs,
    good: [
      ['0.5', 500],
      ['86400', 86_400_000],
    ],
    bad: ['0', '-1', '2147484', '1h'],
  },
  GATEWAY_ADMIN_TOKEN: {
    read: ({ adminToken }) => adminToken?.reveal(),
    good: [
      [TOKEN, TOKEN],
      ['x'.repeat(256), 'x'.repeat(256)],
    ],
    bad: ['short', 'x'.repeat(15), 'x'.repeat(257), `${TOKEN} `, `${TOKEN}\n`, `${TOKEN}ä`],
  },
  GATEWAY_ADMIN_TOKEN_FILE: { read: (config) => config.adminTokenFile, good: [['/run/t', '/run/t']], bad: NO_PATH },
  GATEWAY_CONN_RATE: count(({ connectionRate }) => connectionRate),
  GATEWAY_MAX_PENDING: count(({ maxPending }) => maxPending),
  GATEWAY_HANDSHAKE_TIMEOUT: wait(({ handshakeTimeoutMs }) => handshakeTimeoutMs),
  GATEWAY_KEEPALIVE_INTERVAL: wait(({ keepalive }) => keepalive.intervalMs, { GATEWAY_KEEPALIVE_TIMEOUT: '0.0001' }),
  GATEWAY_KEEPALIVE_TIMEOUT: wait(({ keepalive }) => keepalive.timeoutMs, { GATEWAY_KEEPALIVE_INTERVAL: '600' }),
  GATEWAY_TLS_CERT: {
    read: ({ tls }) => tls?.cert,
    good: [['/c.pem', '/c.pem']],
    bad: NO_PATH,
    beside: { GATEWAY_TLS_KEY: '/k.pem' },
  },
  GATEWAY_TLS_KEY: {
    read: ({ tls }) => tls?.key,
    good: [['/k.pem', '/k.pem']],
    bad: NO_PATH,
    beside: { GATEWAY_TLS_CERT: '/c.pem' },
  },
  LOG_LEVEL: { read: ({ logLevel }) => logLevel, good: [['WARN', 'warn']], bad: ['loud', 'info,warn'] },
};

function faultsOf(env: Record<string, string>): readonly Fault[] {
  try {
    loadGatewayConfig(env);
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.faults;
    throw error;
  }
}

for (const name of GATEWAY_VARIABLES) {
  const { read, good, bad, beside = {} } = CASES[name];
  const { kind, secret } = gatewayOptionOf(name);

  t.test(`${name} accepts what it should`, async (t) => {
    for (const [text, wanted] of good) {
      const { config, settings } = loadGatewayConfig({ ...beside, [name]: text });
      t.strictSame(read(config), wanted, `${name}=${text}`);
      const setting = settings.find(({ env }) => env === name);
      t.equal(setting?.origin, 'environment');
      if (secret(text)) t.equal(setting?.value, '[secret]');
    }
  });

  t.test(`${name} refuses the rest, naming the variable and what is allowed`, async (t) => {
    for (const text of bad) {
      const [fault, ...more] = faultsOf({ ...beside, [name]: text });
      t.match(fault, { key: name, allowed: kind.allowed, source: 'environment' }, printable(text));
      t.equal(fault?.value, secret(text) ? '[secret]' : printable(text));
      t.strictSame(more, []);
    }
  });

  t.test(`${name} is not set by empty text`, async (t) => {
    const { settings } = loadGatewayConfig({ [name]: '' });
    t.equal(settings.find(({ env }) => env === name)?.origin, 'default');
  });
}

t.test('the defaults are those of the specification', async (t) => {
  const { config, notices, settings } = loadGatewayConfig({});
  t.strictSame(notices, []);
  t.strictSame(config, {
    dataDir: '/var/lib/zeroforce-gateway',
    agent: { host: '::', port: 9001, tls: 'off' },
    ssh: { host: '::', port: 2222 },
    http: { host: '127.0.0.1', port: 9443, insecure: false },
    bindHost: '127.0.0.1',
    publicHost: null,
    portRange: { start: 40_000, end: 49_999 },
    leaseMs: 3_600_000,
    adminToken: null,
    adminTokenFile: '/var/lib/zeroforce-gateway/admin-token',
    connectionRate: 10,
    maxPending: 50,
    handshakeTimeoutMs: 10_000,
    keepalive: { intervalMs: 30_000, timeoutMs: 15_000 },
    tls: null,
    logLevel: 'info',
  });
  t.match(settings, [{ env: 'GATEWAY_DATA_DIR', value: '/var/lib/zeroforce-gateway', origin: 'default' }]);
  const value = (name: string) => settings.find(({ env }) => env === name)?.value;
  t.equal(value('GATEWAY_PORT_RANGE'), '40000-49999');
  t.equal(value('GATEWAY_AGENT_TLS'), 'off', 'what follows from others is shown as it came out');
  t.equal(value('GATEWAY_ADMIN_TOKEN_FILE'), '/var/lib/zeroforce-gateway/admin-token');
});

t.test('a certificate makes TLS optional at the agent entry', async (t) => {
  t.equal(loadGatewayConfig(TLS).config.agent.tls, 'optional');
  t.equal(loadGatewayConfig({ ...TLS, GATEWAY_AGENT_TLS: 'off' }).config.agent.tls, 'off');
});

t.test('the admin token lies in the data folder unless told otherwise', async (t) => {
  const { config } = loadGatewayConfig({ GATEWAY_DATA_DIR: '/srv/gateway/' });
  t.equal(config.adminTokenFile, '/srv/gateway/admin-token');
});

for (const [what, env, blamed, allowed] of [
  ['a port of our own in the range', { GATEWAY_SSH_PORT: '40000' }, 'GATEWAY_SSH_PORT', /outside of .*40000-49999/],
  ['a range over a port of our own', { GATEWAY_PORT_RANGE: '9000-9100' }, 'GATEWAY_PORT_RANGE', /outside of/],
  ['two entries on one port', { GATEWAY_SSH_PORT: '9001' }, 'GATEWAY_SSH_PORT', /different ports for GATEWAY_AGENT/],
  [
    'two entries on one port, one of them on all addresses',
    { GATEWAY_HTTP_PORT: '2222' },
    'GATEWAY_HTTP_PORT',
    /different ports for GATEWAY_SSH_PORT and GATEWAY_HTTP_PORT/,
  ],
  ['a certificate without a key', { GATEWAY_TLS_CERT: '/c' }, 'GATEWAY_TLS_CERT', /together/],
  ['a key without a certificate', { GATEWAY_TLS_KEY: '/k' }, 'GATEWAY_TLS_KEY', /together/],
  ['TLS for agents without a certificate', { GATEWAY_AGENT_TLS: 'required' }, 'GATEWAY_AGENT_TLS', /off, or/],
  ['optional TLS without a certificate', { GATEWAY_AGENT_TLS: 'optional' }, 'GATEWAY_AGENT_TLS', /off, or/],
  ['REST for all without TLS', { GATEWAY_HTTP_HOST: '::' }, 'GATEWAY_HTTP_HOST', /loopback.*GATEWAY_HTTP_INSECURE=1/],
  ['REST on a name without TLS', { GATEWAY_HTTP_HOST: 'gw.lan' }, 'GATEWAY_HTTP_HOST', /loopback/],
  [
    'a keepalive that waits longer than it pauses',
    { GATEWAY_KEEPALIVE_TIMEOUT: '31' },
    'GATEWAY_KEEPALIVE_TIMEOUT',
    /not above GATEWAY_KEEPALIVE_INTERVAL \(30\)/,
  ],
] as const) {
  t.test(`${what} is a fault`, async (t) => {
    const [fault, ...more] = faultsOf(env);
    t.match(fault, { key: blamed, allowed, source: 'environment' });
    t.strictSame(more, []);
  });
}

t.test('a token of the operator and a file of it are a fault, and the token stays secret', async (t) => {
  const [fault] = faultsOf({ GATEWAY_ADMIN_TOKEN: TOKEN, GATEWAY_ADMIN_TOKEN_FILE: '/t' });
  t.match(fault, { key: 'GATEWAY_ADMIN_TOKEN', value: '[secret]', allowed: /not both/ });
  const [mistaken] = faultsOf({ GATEWAY_ADMIN_TOKEN_FILE: TOKEN });
  t.match(mistaken, { key: 'GATEWAY_ADMIN_TOKEN_FILE', value: '[secret]' }, 'a token where a path is wanted');
});

t.test('one port serves two entries on different addresses, and 0 is nobody twice', async (t) => {
  for (const env of [
    { GATEWAY_AGENT_HOST: '127.0.0.1', GATEWAY_SSH_HOST: '127.0.0.2', GATEWAY_SSH_PORT: '9001' },
    { GATEWAY_AGENT_HOST: '127.0.0.1', GATEWAY_SSH_HOST: '::1', GATEWAY_SSH_PORT: '9001' },
    { GATEWAY_AGENT_PORT: '0', GATEWAY_SSH_PORT: '0', GATEWAY_HTTP_PORT: '0' },
  ]) {
    t.strictSame(faultsOf(env), []);
  }
  t.equal(
    faultsOf({ GATEWAY_AGENT_HOST: '0.0.0.0', GATEWAY_SSH_HOST: '127.0.0.2', GATEWAY_SSH_PORT: '9001' }).length,
    1,
  );
  t.equal(
    faultsOf({ GATEWAY_AGENT_HOST: 'gw.lan', GATEWAY_SSH_HOST: '127.0.0.2', GATEWAY_SSH_PORT: '9001' }).length,
    1,
  );
});

t.test('all faults are told at once; a refused value takes part in no other check', async (t) => {
  const faults = faultsOf({
    GATEWAY_SSH_PORT: 'ssh',
    GATEWAY_PORT_RANGE: '9000-9100',
    GATEWAY_HTTP_HOST: '0.0.0.0',
    GATEWAY_ADMIN_TOKEN: 'hush',
    GATEWAY_TLS_KEY: 'k',
  });
  t.strictSame(
    faults.map(({ key }) => key),
    ['GATEWAY_SSH_PORT', 'GATEWAY_ADMIN_TOKEN', 'GATEWAY_TLS_KEY', 'GATEWAY_PORT_RANGE'],
  );
  try {
    loadGatewayConfig({ GATEWAY_ADMIN_TOKEN: 'hush', GATEWAY_SSH_PORT: 'x' });
    t.fail('it is wrong');
  } catch (error) {
    t.match(error, { code: 'gateway.config-invalid' });
    const report = (error as ConfigError).report();
    t.notMatch(report, 'hush');
    t.match(report, FAILURES['gateway.config-invalid']);
  }
});

t.test('a variable that looks like one of ours is named, with the one that may be meant', async (t) => {
  const { notices } = loadGatewayConfig({
    GATEWAY_SHH_PORT: '1',
    GATEWAY_X: 'hush',
    ZEROFORCE_HTTP_PROT: '1',
    HOME: '/',
  });
  t.strictSame(
    notices.map(({ code, sentence }) => [code, sentence]),
    [
      [
        'config.unknown-variable',
        'GATEWAY_SHH_PORT is not an option and is ignored; perhaps GATEWAY_SSH_PORT is meant',
      ],
      ['config.unknown-variable', 'GATEWAY_X is not an option and is ignored'],
    ],
  );
});

t.test('REST for all without TLS, where it is wanted, is a notice', async (t) => {
  const { notices } = loadGatewayConfig({ GATEWAY_HTTP_HOST: '0.0.0.0', GATEWAY_HTTP_INSECURE: '1' });
  t.match(notices, [{ code: 'gateway.http-plain', sentence: /0\.0\.0\.0 without TLS/ }]);
  t.strictSame(loadGatewayConfig({ GATEWAY_HTTP_HOST: '0.0.0.0', ...TLS }).notices, []);
});
