import t from 'tap';
import { statusText } from '../../src/cli/status-text.ts';
import type { DeviceStatus } from '../../src/device.ts';

const KEY = { type: 'ssh-ed25519', fingerprint: 'SHA256:abc' };

const paired: DeviceStatus = {
  version: '1.2.3',
  pid: 42,
  hostname: 'beamer-1',
  uptimeSeconds: 273_605,
  pairing: {
    policy: 'open',
    open: false,
    pinReady: false,
    openedLocally: null,
    pin: { set: false, failuresLeft: 20, locked: false },
    reason: 'a tunnel stands',
    opensInSeconds: null,
    tunnel: 'active',
    everPaired: true,
    key: KEY,
  },
  monitor: { kind: 'active', connections: 1, sinceConnectedSeconds: 0 },
  http: { host: '::', port: 5000 },
  mdns: {
    name: 'beamer-1',
    renamed: false,
    interfaces: [
      { name: 'eth0', addresses: ['192.168.1.7'], state: 'announced' },
      { name: 'wlan0', addresses: ['192.168.1.8'], state: 'claiming' },
    ],
    failure: null,
  },
  tunnel: {
    transport: 'meeting',
    state: 'up',
    inStateMs: 312_000,
    proxy: { host: 'proxy.example', port: 9001, tls: true },
    protocol: 'v1',
    peerDeviceKey: null,
    forwards: [],
    streams: 2,
    attempts: 1,
    sessions: 1,
    nextAttemptInMs: null,
    lastFailure: null,
    localFailures: [],
  },
  meetingApi: null,
  diagnosis: null,
  faults: [],
  notices: [],
};
type Part = (status: DeviceStatus) => Partial<DeviceStatus>;
const tunnel =
  (change: Partial<NonNullable<DeviceStatus['tunnel']>>): Part =>
  ({ tunnel }) => ({ tunnel: tunnel && { ...tunnel, ...change } });
const pairing =
  (change: Partial<DeviceStatus['pairing']>): Part =>
  ({ pairing }) => ({ pairing: { ...pairing, ...change } });
const mdns =
  (change: Partial<NonNullable<DeviceStatus['mdns']>>): Part =>
  ({ mdns }) => ({ mdns: mdns && { ...mdns, ...change } });
const textOf = (part: Part) => statusText({ ...paired, ...part(paired) });

t.test('an SSH gateway and where it listens', async (t) => {
  const forwards = [
    { name: 'ssh', localPort: 22, remotePort: 40000 },
    { name: 'http', localPort: 80, remotePort: 40001 },
  ];
  const proxy = { host: '2001:db8::1', port: 2222, tls: false };
  const text = textOf(tunnel({ transport: 'ssh', protocol: 'ssh', proxy, forwards, streams: 1 }));
  t.match(text, '  tunnel   up for 5 min 12 s to [2001:db8::1]:2222 (ssh), 1 stream open\n');
  t.match(text, '           ssh: port 40000 of the gateway leads to port 22 of this device\n');
  t.match(text, '           http: port 40001 of the gateway leads to port 80 of this device\n');
});

t.test('a paired device with its tunnel up, as a whole', async (t) => {
  t.equal(
    statusText(paired),
    [
      'tunnel-agent 1.2.3 on beamer-1, up 3 d 4 h, process 42',
      '  pairing  closed: a tunnel stands',
      '  key      ssh-ed25519 SHA256:abc',
      '  monitor  a tunnel stands (1 connection)',
      '  http     [::]:5000',
      '  mdns     announced as beamer-1 on eth0',
      '  tunnel   up for 5 min 12 s to proxy.example:9001 over TLS (v1), 2 streams open',
      '',
    ].join('\n'),
  );
});

for (const [what, part, line] of [
  [
    'pairing that is open',
    pairing({ open: true, reason: 'the device has never been paired', opensInSeconds: 0 }),
    '  pairing  open: the device has never been paired',
  ],
  [
    'pairing that was opened at the device',
    pairing({ open: true, reason: 'it was opened', opensInSeconds: 0, openedLocally: { secondsLeft: 61 } }),
    '  pairing  open: it was opened, for 1 min 1 s more',
  ],
  [
    'pairing with the PIN',
    pairing({ policy: 'pin', pinReady: true, reason: 'the device has never been paired', opensInSeconds: 0 }),
    '  pairing  open with the PIN: the device has never been paired',
  ],
  [
    'pairing with a PIN that is missing or locked',
    pairing({ policy: 'pin', reason: 'the device has never been paired', opensInSeconds: 0 }),
    '  pairing  closed: the device has never been paired',
  ],
  [
    'pairing that counts down',
    pairing({ reason: 'there is no tunnel', opensInSeconds: 599 }),
    '  pairing  closed: there is no tunnel; opens in 9 min 59 s',
  ],
  ['no key', pairing({ key: null }), '  key      none'],
  [
    'a key that cannot be read',
    pairing({ key: { failure: '/root/.ssh/authorized_keys is a folder' } }),
    '  key      /root/.ssh/authorized_keys is a folder',
  ],
  [
    'several connections',
    () => ({ monitor: { kind: 'active', connections: 3, sinceConnectedSeconds: 0 } }),
    '  monitor  a tunnel stands (3 connections)',
  ],
  [
    'no tunnel',
    () => ({ monitor: { kind: 'none', connections: 0, sinceConnectedSeconds: 3_600 } }),
    '  monitor  no tunnel, for 1 h',
  ],
  [
    'no poll yet',
    () => ({ monitor: { kind: 'starting', connections: 0, sinceConnectedSeconds: 0 } }),
    '  monitor  has not looked yet',
  ],
  [
    'a monitor at fault',
    () => ({ monitor: { kind: 'fault', connections: 0, sinceConnectedSeconds: 0 } }),
    '  monitor  cannot tell whether a tunnel stands, see the fault',
  ],
  ['an outside monitor', () => ({ monitor: null }), "  monitor  another program's (ZEROFORCE_MONITOR=off)"],
  ['no HTTP', () => ({ http: null }), '  http     not listening'],
  ['HTTP on IPv4', () => ({ http: { host: '0.0.0.0', port: 5001 } }), '  http     0.0.0.0:5001'],
  ['no announcing', () => ({ mdns: null }), '  mdns     off (mdns.enabled)'],
  [
    'a name that is asked for',
    mdns({ interfaces: [{ name: 'eth0', addresses: [], state: 'claiming' }] }),
    '  mdns     asking whether the name beamer-1 is free',
  ],
  [
    'announcing without a network',
    mdns({ interfaces: [], failure: 'mdns.no-interface' }),
    '  mdns     not announced, see the fault',
  ],
  [
    'pairing alone',
    () => ({ tunnel: null }),
    '  tunnel   none: without a complete identity the service runs pairing alone',
  ],
  [
    'a proxy with an IPv6 address',
    tunnel({ proxy: { host: '2001:db8::1', port: 9001, tls: false }, protocol: 'legacy', streams: 1 }),
    '  tunnel   up for 5 min 12 s to [2001:db8::1]:9001 (legacy), 1 stream open',
  ],
  [
    'a first attempt',
    tunnel({ state: 'connecting', inStateMs: 1_400 }),
    '  tunnel   connecting to proxy.example:9001 over TLS for 1 s',
  ],
  [
    'a pause',
    tunnel({ state: 'waiting', nextAttemptInMs: 0 }),
    '  tunnel   down; next attempt at proxy.example:9001 over TLS in 0 s',
  ],
  ['a stopped tunnel', tunnel({ state: 'stopped' }), '  tunnel   stopped'],
] as [string, Part, string][]) {
  t.test(`shows ${what}`, async (t) => {
    t.ok(textOf(part).split('\n').includes(line), textOf(part));
  });
}

t.test('a failure of the tunnel comes with its name, its age and what to do', async (t) => {
  const lastFailure = {
    code: 'proxy.refused',
    sentence: 'proxy.example:9001 refused',
    remedy: 'Check it',
    agoMs: 65_000,
  } as const;
  t.match(
    textOf(tunnel({ state: 'waiting', nextAttemptInMs: 4_000, lastFailure })),
    [
      '  tunnel   down; next attempt at proxy.example:9001 over TLS in 4 s',
      '           last failure 1 min 5 s ago: proxy.example:9001 refused',
      '           proxy.refused: Check it',
      '',
    ].join('\n'),
  );
});

t.test('connections that no service took, and the cause that the service found by itself', async (t) => {
  const failure = { code: 'target.refused', sentence: 'port 22 refused', remedy: 'Start it', agoMs: 12_000 } as const;
  const diagnosis: NonNullable<DeviceStatus['diagnosis']> = {
    check: 'sshd.running',
    title: 'sshd runs',
    summary: 'No SSH server runs',
    evidence: 'no process\nno listener',
    remedy: 'systemctl start ssh',
    agoMs: 61_000,
    over: false,
  };
  const part: Part = (status) => ({ ...tunnel({ localFailures: [{ ...failure, port: 22 }] })(status), diagnosis });
  t.match(
    textOf(part),
    [
      '           a connection failed 12 s ago: port 22 refused',
      '           target.refused: Start it',
      '  cause    No SSH server runs',
      '           sshd.running, found 1 min 1 s ago: systemctl start ssh',
      '             no process',
      '             no listener',
      '',
    ].join('\n'),
  );
  const past = textOf(() => ({ diagnosis: { ...diagnosis, over: true, evidence: null, remedy: null } }));
  t.match(past, '  was      No SSH server runs (over now)\n           sshd.running, found 1 min 1 s ago\n');
  const evidence = Array.from({ length: 9 }, (_, index) => `line ${index}`).join('\n');
  const long = textOf(() => ({ diagnosis: { ...diagnosis, evidence } }));
  t.match(long, '             line 5\n             …\n');
  t.notMatch(long, 'line 6');
});

const online: NonNullable<DeviceStatus['meetingApi']> = {
  url: 'https://meeting.example',
  state: 'online',
  nextHeartbeatInMs: 18_000,
  lastHeartbeat: { agoMs: 42_000, ipAddress: '203.0.113.7', lastSeen: null },
  authorized: true,
  services: { ssh: true, vnc: false },
  availability: 'available',
  sshKeyPublished: 'done',
  knownHosts: 'failed',
  maintenanceKey: null,
  lastFailure: null,
};
const silent = { ...online, lastHeartbeat: null, authorized: null, services: null, availability: null };
for (const [what, meetingApi, line] of [
  [
    'answers',
    online,
    '  meeting  online at https://meeting.example; last 42 s ago; next heartbeat in 18 s; authorized; listed as available; services there: ssh; SSH key published; known_hosts failed',
  ],
  [
    'never answered',
    { ...silent, state: 'failing', sshKeyPublished: null, knownHosts: 'pending' },
    '  meeting  failing at https://meeting.example; none answered yet; next heartbeat in 18 s; known_hosts pending',
  ],
  [
    'has not been asked yet',
    { ...silent, state: 'starting', sshKeyPublished: null, knownHosts: null },
    '  meeting  starting at https://meeting.example',
  ],
  [
    'does not authorize the device',
    { ...online, authorized: false, services: {}, availability: null, sshKeyPublished: null, knownHosts: null },
    '  meeting  online at https://meeting.example; last 42 s ago; next heartbeat in 18 s; not authorized; services there: none',
  ],
] as [string, DeviceStatus['meetingApi'], string][]) {
  t.test(`shows a Meeting API that ${what}`, async (t) => {
    t.ok(
      textOf(() => ({ meetingApi }))
        .split('\n')
        .includes(line),
      textOf(() => ({ meetingApi })),
    );
  });
}

t.test('every fault comes with its name and what to do', async (t) => {
  const faults: DeviceStatus['faults'] = [
    { code: 'http.port-in-use', sentence: 'port 5000 is taken', remedy: 'Find the program' },
    { code: 'monitor.netstat-missing', sentence: 'no netstat', remedy: 'Install it' },
  ];
  t.match(
    textOf(() => ({ faults })),
    [
      '  fault    port 5000 is taken',
      '           http.port-in-use: Find the program',
      '  fault    no netstat',
      '           monitor.netstat-missing: Install it',
      '',
    ].join('\n'),
  );
});
