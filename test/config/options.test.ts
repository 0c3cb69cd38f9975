import * as fc from 'fast-check';
import t from 'tap';
import { printable } from '../../src/config/faults.ts';
import { type Layer, readEnvironment, readFile, unknownVariables } from '../../src/config/layers.ts';
import { nearest } from '../../src/config/nearest.ts';
import { OPTION_KEYS, type OptionKey, optionOf } from '../../src/config/options.ts';

/** What an option makes of a value; `bad` and `badText` must be refused. */
interface Case {
  /** Text of the environment and the value that it gives; the same text in the file gives the same. */
  text: [string, unknown][];
  /** Values of the file that are no text. */
  file?: [unknown, unknown][];
  badText: string[];
  badFile?: unknown[];
}

const HEX = 'ab'.repeat(32);
const COLONS = HEX.replaceAll(/..(?=.)/g, '$&:');
const BASE64 = Buffer.from(HEX, 'hex').toString('base64');
const never = [null, [], {}, true];

const path: Case = {
  text: [
    ['/tmp/a b', '/tmp/a b'],
    ['/', '/'],
  ],
  badText: ['tmp', './x', ' /x', '/a\nb', '/a\0b', `/${'x'.repeat(1024)}`],
  badFile: [1, ...never],
};
const flag: Case = {
  text: [
    ...['1', 'on', 'true', 'TRUE', 'On', ' true\r'].map((word): [string, boolean] => [word, true]),
    ...['0', 'off', 'false', 'OFF', 'False'].map((word): [string, boolean] => [word, false]),
  ],
  file: [
    [true, true],
    [false, false],
    [1, true],
    [0, false],
  ],
  badText: ['yes', '2', 'y', ' ', 'truee'],
  badFile: [2, -1, null, [], {}],
};
const port: Case = {
  text: [
    ['1', 1],
    ['65535', 65535],
    [' 8022 ', 8022],
  ],
  file: [[65535, 65535]],
  badText: ['0', '65536', '-1', '80.5', 'http', '0x50', '1e3', 'NaN', 'Infinity', ' '],
  badFile: [0, 65536, -1, 80.5, ...never],
};
const seconds: Case = {
  text: [
    ['0.25', 0.25],
    ['.5', 0.5],
    ['2147483', 2147483],
  ],
  file: [[1.5, 1.5]],
  badText: ['-1', '2147484', 'ten', '5s', 'NaN', 'Infinity', '-0.1', '1,5'],
  badFile: [-1, 2147484, Number.POSITIVE_INFINITY, Number.NaN, ...never],
};
const positive: Case = {
  ...seconds,
  badText: [...seconds.badText, '0', '0.0'],
  badFile: [0, ...(seconds.badFile ?? [])],
};
const orZero: Case = { ...seconds, text: [...seconds.text, ['0', 0]] };
const host: Case = {
  text: [
    '::',
    '0.0.0.0',
    '127.0.0.1',
    'fe80::1%eth0',
    '2001:db8::1',
    'localhost',
    'proxy_1.example.org',
    'a1.3com.',
  ].map((name): [string, unknown] => [name, name]),
  badText: [
    '1.2.3.999',
    '1.2.3',
    '[::1]',
    'a b',
    'http://x',
    'x:80',
    'user@x',
    '-x',
    '*',
    `${'x'.repeat(64)}.y`,
    'a..b',
  ],
  badFile: [1, ...never],
};

const command: Case = {
  text: [
    ['netstat', 'netstat'],
    ['/usr/my bin/netstat', '/usr/my bin/netstat'],
  ],
  badText: ['netstat -tn', 'bin/netstat', '/bin/net\nstat', 'a;b'],
  badFile: [1, ...never],
};
const services: Case = {
  text: [
    ['ssh=22', { ssh: 22 }],
    [' ssh = 22 , my-http_2 = 8080 ', { ssh: 22, 'my-http_2': 8080 }],
    ['constructor=1', { constructor: 1 }],
  ],
  file: [
    [{}, {}],
    [{ vnc: 5900 }, { vnc: 5900 }],
  ],
  badText: ['ssh', 'ssh=', '=22', 'ssh=22,', 'ssh=22,ssh=23', 'ssh=0', 'SSH=22', 'ssh=22=23', '__proto__=1', 'ssh=x'],
  badFile: [
    { ssh: '22' },
    { ssh: 0 },
    { 'a b': 1 },
    { '': 1 },
    JSON.parse('{"__proto__":1}'),
    null,
    [],
    Object.fromEntries(Array.from({ length: 65 }, (_, index) => [`s${index}`, 1])),
  ],
};

const HOST_KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO9N5NQ8pXkUQ9JcEtmNTBvX6QH3vXo9cXhbQb3XoKfM';

const CASES: Record<OptionKey, Case> = {
  runDir: path,
  stateDir: path,
  logLevel: {
    text: [
      ['debug', 'debug'],
      ['WARN', 'warn'],
    ],
    badText: ['loud', 'info,warn'],
    badFile: [3, ...never],
  },
  transport: {
    text: [
      ['meeting', 'meeting'],
      ['None', 'none'],
      ['SSH', 'ssh'],
    ],
    badText: ['tcp', 'ssh,none'],
    badFile: never,
  },
  'tunnel.port': port,
  'monitor.enabled': flag,
  'monitor.intervalSeconds': positive,
  'monitor.confirmSeconds': orZero,
  'monitor.count': {
    text: [
      ['local', 'local'],
      ['either', 'either'],
    ],
    badText: ['remote', 'both'],
    badFile: never,
  },
  'monitor.netstat': command,
  'pairing.policy': {
    text: ['OPEN', 'pin', 'locked'].map((word): [string, unknown] => [word, word.toLowerCase()]),
    badText: ['closed', 'pin,open'],
    badFile: never,
  },
  'pairing.timeoutSeconds': orZero,
  'pairing.remember': flag,
  'pairing.authorizedKeysFile': path,
  'pairing.keyOptions': {
    text: [
      'restrict',
      'restrict,port-forwarding,permitopen="localhost:3240",permitopen="localhost:5000"',
      'command="echo \\"hi there\\""',
    ].map((line): [string, unknown] => [line, line]),
    badText: [
      'restrict ',
      'restrict,',
      'restrict ssh-ed25519 AAAA',
      'command="x',
      'command="x" y',
      'restrict\nssh-rsa AAAA',
      'command="a\nb"',
      'command="a\\"',
      'a'.repeat(1025),
    ],
    badFile: [1, ...never],
  },
  'pairing.allowedHosts': {
    text: [
      ['Beamer.lan', ['beamer.lan']],
      ['a.lan, 10.0.0.1 ,::1', ['a.lan', '10.0.0.1', '::1']],
    ],
    file: [
      [[], []],
      [['A.lan'], ['a.lan']],
    ],
    badText: ['a.lan,', 'http://a.lan', 'a.lan b.lan'],
    badFile: [[1], [''], ['a b'], {}, null, Array.from({ length: 65 }, () => 'a')],
  },
  'http.host': host,
  'http.port': port,
  'meeting.deviceKey': {
    text: [['0123456789abcdef0123456789abcdef', '0123456789abcdef0123456789abcdef']],
    badText: ['a b', 'a\n', 'ä', 'x'.repeat(129)],
    badFile: [123, ...never],
  },
  'meeting.token': {
    text: [
      ['a1b2c3', 'a1b2c3'],
      ['with blank "and" ä', 'with blank "and" ä'],
    ],
    badText: ['a\nb', 'a\0', '\x7f', 'a\u2028b', 'x'.repeat(513)],
    badFile: [123456, ...never],
  },
  'meeting.tokenFile': path,
  'meeting.proxy.host': host,
  'meeting.proxy.port': port,
  'meeting.proxy.tls': flag,
  'meeting.proxy.ca': path,
  'meeting.proxy.pin': {
    text: [
      HEX,
      HEX.toUpperCase(),
      COLONS,
      COLONS.toUpperCase(),
      `sha256:${HEX}`,
      `sha256:${COLONS}`,
      BASE64,
      BASE64.replace('=', ''),
      `sha256:${BASE64}`,
      `sha256/${BASE64}`,
      `sha256//${BASE64}`,
      ` sha256/${HEX} `,
    ].map((form): [string, unknown] => [form, HEX]),
    badText: [
      COLONS.slice(3),
      COLONS.replace(':', ''),
      `${COLONS}:`,
      HEX.slice(1),
      `${HEX}0`,
      BASE64.slice(1),
      `sha1/${BASE64}`,
      'x'.repeat(64),
      `${'A'.repeat(42)}B=`,
    ],
    badFile: [1, ...never],
  },
  'pairing.resetFile': path,
  'pairing.resetButton': path,
  'mdns.enabled': flag,
  'mdns.model': {
    text: ['Beamer', 'Kamera Küche (2)'].map((name): [string, unknown] => [name, name]),
    badText: ['x'.repeat(61), 'a\nb', 'a\u2028b'],
    badFile: [1, ...never],
  },
  'meeting.api.url': {
    text: ['http://10.0.0.1:8080', 'https://meeting.example.org/base/', 'http://[fe80::1]:80'].map(
      (address): [string, unknown] => [address, address],
    ),
    badText: [
      'meeting.example.org',
      'ftp://x',
      'http://',
      'http://u:p@x',
      'http://x?y',
      'http://x#y',
      'http://x/a b',
      'http://x:99999',
      'http://[::1',
      'http://[x]',
    ],
    badFile: [1, ...never],
  },
  'meeting.api.ca': path,
  'meeting.api.heartbeatSeconds': positive,
  'meeting.api.publicKeyFile': path,
  'meeting.api.knownHostsFile': path,
  'meeting.api.maintenanceKeysFiles': {
    text: [['/root/.ssh/a, /home/pi/.ssh/a', ['/root/.ssh/a', '/home/pi/.ssh/a']]],
    file: [
      [[], []],
      [['/a b'], ['/a b']],
    ],
    badText: ['a', '/a,,/b', '/a,b'],
    badFile: ['a', 1, [1], [''], Array(17).fill('/a')],
  },
  'ssh.host': host,
  'ssh.port': port,
  'ssh.token': {
    text: ['ABCDEFGHIJKLMNOPQRSTUVWXYZ234567', 'a', 'd_e.v-1'].map((token): [string, unknown] => [token, token]),
    badText: ['a b', '"a"', '-oProxyCommand=x', '%h', 'a\nb', 'ä', 'x'.repeat(129)],
    badFile: [1, ...never],
  },
  'ssh.tokenFile': path,
  'ssh.hostKey': {
    text: [HOST_KEY, `${HOST_KEY} root@gateway`].map((line): [string, unknown] => [line, line]),
    badText: [
      'ssh-ed25519',
      'AAAAC3NzaC1lZDI1NTE5',
      `gateway ${HOST_KEY}`,
      `${HOST_KEY}\n${HOST_KEY}`,
      'SHA256:abc',
      HOST_KEY.slice(0, -4),
      HOST_KEY.replace('ssh-ed25519', 'ssh-rsa'),
    ],
    badFile: [1, ...never],
  },
  'ssh.trustFirst': flag,
  'ssh.forwards': services,
  'ssh.program': command,
  services,
  'reconnect.minSeconds': positive,
  'reconnect.maxSeconds': positive,
  handshakeTimeoutSeconds: positive,
};

/** The file with one value. */
function nested(key: string, value: unknown): unknown {
  return key.split('.').reduceRight<unknown>((inner, name) => ({ [name]: inner }), value);
}

const inFile = (key: string, value: unknown) => readFile(nested(key, value), 'file', '/c.json');
const inEnvironment = (key: OptionKey, text: string) => readEnvironment({ [optionOf(key).env]: text });

for (const key of OPTION_KEYS) {
  const { text, file = [], badText, badFile = [] } = CASES[key];
  const { env, kind } = optionOf(key);

  t.test(`${key} accepts what it should, in the file as in the environment`, async (t) => {
    const same = (layer: Layer, wanted: unknown, what: string) => {
      t.strictSame(layer.faults, [], what);
      t.strictSame(layer.found.get(key)?.value, wanted, what);
    };
    for (const [input, wanted] of text) {
      same(inEnvironment(key, input), wanted, `${env}=${input}`);
      same(inFile(key, input), wanted, `${key}: ${JSON.stringify(input)}`);
      same(readFile({ [env]: input }, 'file', '/c.json'), wanted, `the variable's name as a key: ${input}`);
    }
    for (const [input, wanted] of file) same(inFile(key, input), wanted, `${key}: ${JSON.stringify(input)}`);
  });

  t.test(`${key} refuses the rest, naming the key and what is allowed`, async (t) => {
    const refused = (layer: Layer, name: string, source: string, what: string) => {
      t.match(layer.faults, [{ key: name, allowed: kind.allowed, source }], what);
      t.equal(layer.faults.length, 1, what);
      t.type(layer.faults[0]?.value, 'string', what);
      t.notOk(layer.found.has(key), what);
    };
    for (const input of badText) {
      refused(inEnvironment(key, input), env, 'environment', `${env}=${printable(input)}`);
      refused(inFile(key, input), key, '/c.json', `${key}: ${printable(input)}`);
    }
    for (const input of badFile) refused(inFile(key, input), key, '/c.json', `${key}: ${JSON.stringify(input)}`);
  });

  t.test(`${key} is not set by empty text`, async (t) => {
    for (const layer of [inEnvironment(key, ''), inFile(key, '')]) {
      t.strictSame(layer.faults, []);
      t.equal(layer.found.size, 0);
    }
  });
}

t.test('the defaults pass their own check', async (t) => {
  for (const key of OPTION_KEYS) {
    const fallback = optionOf(key).default;
    if (fallback === null) continue;
    t.strictSame(inFile(key, fallback).found.get(key)?.value, fallback, key);
  }
});

t.test('unknown keys are faults, with the key that may have been meant and without the value', async (t) => {
  const content = { tunnel: { prot: 1 }, meeting: { tokn: 'hush' }, zzzzzzzz: [], 'http.port': 1, http: { zz: null } };
  t.strictSame(
    readFile(content, 'file', '/c.json').faults.map(({ key, value, allowed }) => [key, value, allowed]),
    [
      ['tunnel.prot', '[a number]', 'a known key; perhaps tunnel.port is meant'],
      ['meeting.tokn', '[a text]', 'a known key; perhaps meeting.token is meant'],
      [
        'zzzzzzzz',
        '[a list]',
        'a known key: runDir, stateDir, logLevel, transport, tunnel, monitor, pairing, mdns, http, meeting, ssh, services, reconnect, handshakeTimeoutSeconds',
      ],
      ['http.port', '[a number]', 'sections as objects, for example "http": { "port": 5000 }'],
      ['http.zz', 'null', 'a known key: host, port'],
    ],
  );
});

t.test('what is no object where a section stands is a fault, and $schema is not', async (t) => {
  for (const content of [[], 'x', 1, null, true]) {
    t.match(readFile(content, 'file', '/c').faults, [{ key: '(whole file)', allowed: 'an object: { … }' }]);
    t.match(readFile({ meeting: { proxy: content } }, 'file', '/c').faults, [{ key: 'meeting.proxy' }]);
  }
  t.strictSame(readFile({ $schema: 'config.schema.json' }, 'file', '/c').faults, []);
  t.equal(readFile({ http: { $schema: 'x' } }, 'file', '/c').faults.length, 1);
});

t.test('an option that is set twice in the file is a fault', async (t) => {
  const layer = readFile({ http: { port: 5001 }, ZEROFORCE_HTTP_PORT: 5002 }, 'file', '/c');
  t.match(layer.faults, [{ key: 'ZEROFORCE_HTTP_PORT', value: '5002', allowed: /once.*http\.port/ }]);
});

t.test('variables with our prefixes that are no options are found, those of others are not', async (t) => {
  const env = {
    ZEROFORCE_HTTP_PROT: '1',
    MEETING_TOKN: 'hush',
    ZEROFORCE_Q: '',
    HOME: '/root',
    ZEROFORCE_SERVICES: '',
  };
  t.strictSame(unknownVariables(env), [
    { name: 'ZEROFORCE_HTTP_PROT', meant: 'ZEROFORCE_HTTP_PORT' },
    { name: 'MEETING_TOKN', meant: 'MEETING_TOKEN' },
    { name: 'ZEROFORCE_Q', meant: null },
  ]);
});

t.test('the nearest name is near, or none', async (t) => {
  t.equal(nearest('POLICI', ['police', 'policy']), 'police');
  t.equal(nearest('http', ['port']), null);
  t.equal(nearest('', ['a']), null);
  t.equal(nearest('x'.repeat(60_000), ['port']), null);
});

t.test('any JSON value gives values or faults, and never throws', async () => {
  const sections = fc.constantFrom('tunnel', 'monitor', 'pairing', 'http', 'meeting', 'services', 'reconnect', 'proxy');
  const leaf = fc.constantFrom(
    'port',
    'host',
    'token',
    'pin',
    'intervalSeconds',
    '__proto__',
    'constructor',
    'toString',
  );
  const { tree } = fc.letrec((tie) => ({
    tree: fc.dictionary(fc.oneof(sections, leaf, fc.string()), fc.oneof(fc.jsonValue(), tie('tree')), { maxKeys: 6 }),
  }));
  fc.assert(
    fc.property(fc.oneof(fc.jsonValue(), tree), (content) => {
      const json: unknown = JSON.parse(JSON.stringify(content));
      const { faults, found } = readFile(json, 'file', '/c.json');
      for (const fault of faults) {
        if (!/^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$/.test(`${fault.key}${fault.value}`)) throw new Error('unprintable');
        if (`${fault.key}${fault.value}`.length > 1000) throw new Error('not shortened');
      }
      const empty = typeof json === 'object' && json !== null && Object.keys(json).length === 0;
      return faults.length > 0 || found.size > 0 || empty || JSON.stringify(json).length > 0;
    }),
    { numRuns: 500 },
  );
});
