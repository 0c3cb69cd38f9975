import t from 'tap';
import { readNamed } from '../../src/config/layers.ts';
import type { OptionKey } from '../../src/config/options.ts';
import { combine } from '../../src/config/resolve.ts';
import type { Configuration, Entry, Facts, Part } from '../../src/migrate/model.ts';
import { isDue } from '../../src/migrate/model.ts';
import { plan } from '../../src/migrate/plan.ts';

const NAMES = new Map<string, OptionKey>([
  ['key', 'meeting.deviceKey'],
  ['token', 'meeting.token'],
  ['host', 'meeting.proxy.host'],
  ['port', 'meeting.proxy.port'],
]);
const IDENTITY = { key: 'ABC', token: 'f00d', host: 'proxy.example', port: 9002 };

const configuration = (values: Record<string, unknown>, more: Partial<Configuration> = {}): Configuration => ({
  path: '/etc/zeroforce/config.json',
  text: null,
  faults: [],
  content: {},
  httpPort: 5000,
  tunnelPort: 8007,
  settled: false,
  hasTunnel: false,
  deployed: combine([readNamed(NAMES, values, 'deployed', '/etc/rpi-cam/meeting.json')]),
  deployedNotices: [],
  ...more,
});

const entry = (part: Part, more: Partial<Entry> = {}): Entry => ({
  kind: 'systemd',
  name: `${part.role}.service`,
  parts: [part],
  others: [],
  enabled: true,
  running: true,
  disable: [{ change: 'unlink', path: '/etc/x', target: '/y' }],
  obstacle: null,
  stop: [['systemctl', 'stop', `${part.role}.service`]],
  start: [],
  ...more,
});
const AGENT = entry({ role: 'agent', program: '/opt/x/tunnel_agent.py' });
const MONITOR = entry({ role: 'monitor', program: '/opt/x/zeroforce_tunnel_monitor.sh' });
const PAIRING = entry({ role: 'pairing', program: '/opt/x/app.py' });
const OLDER = entry({ role: 'more', program: '/opt/x/legacy_app.py' });

const facts = (more: Partial<Facts> = {}): Facts => ({
  isRoot: true,
  init: 'systemd',
  entries: [],
  processes: [],
  holders: [],
  takenPorts: new Set([22]),
  strangersAtProxy: [],
  ours: { installed: true, enabled: false, running: false, shadowedBy: null },
  ourSshd: null,
  configuration: configuration(IDENTITY),
  pairing: {
    keysFile: '/root/.ssh/authorized_keys',
    keys: 'none',
    fingerprint: null,
    keyCount: 0,
    flag: false,
    marked: false,
  },
  notes: [],
  ...more,
});

const contentOf = (planned: ReturnType<typeof plan>): unknown =>
  planned.config?.after === undefined || planned.config.after === null
    ? null
    : JSON.parse(Buffer.from(planned.config.after, 'base64').toString('utf8'));

t.test('without deployed software nothing is due, whatever the files say and whoever has our port', async (t) => {
  t.notOk(isDue(plan(facts())), 'the service reads deployed files by itself');
  const holders = [{ port: 5000, shown: 'nginx (process 7)', who: 'unknown' as const }];
  t.notOk(isDue(plan(facts({ holders }))));
  t.notOk(isDue(plan(facts({ isRoot: false, init: null }))));
  const disabled = plan(facts({ entries: [{ ...AGENT, enabled: false, running: false }] }));
  t.notOk(isDue(disabled), 'what was taken over before');
  t.match(disabled.findings[0], { decision: 'nothing to do' });
});

t.test('configuration is taken over only where there is none, or none with a tunnel in it', async (t) => {
  const taken = plan(facts({ entries: [AGENT] }));
  t.strictSame(contentOf(taken), {
    meeting: { deviceKey: 'ABC', token: 'f00d', proxy: { host: 'proxy.example', port: 9002 } },
  });
  t.equal(taken.config?.mode, 0o600);
  t.notMatch(JSON.stringify(taken.findings), /f00d/);

  const own = configuration(IDENTITY, { text: '{"x":1}', settled: true, hasTunnel: true });
  t.equal(plan(facts({ entries: [AGENT], configuration: own })).config, null, 'the own one keeps every value');

  const shipped = configuration(IDENTITY, {
    text: '{"mdns":{"model":"Beamer"}}',
    content: { mdns: { model: 'Beamer' } },
  });
  const planned = plan(facts({ entries: [AGENT], configuration: shipped }));
  t.match(
    contentOf(planned),
    { mdns: { model: 'Beamer' }, meeting: { deviceKey: 'ABC' } },
    'the shipped one is filled in',
  );
  t.equal(Buffer.from(planned.config?.before ?? '', 'base64').toString(), shipped.text);
});

t.test('an identity that is not whole is never written, and keeps their agent where it is', async (t) => {
  const half = configuration(
    { key: 'ABC' },
    { deployedNotices: ['Ignored in the deployed file: everything; it is not JSON'] },
  );
  const planned = plan(facts({ entries: [AGENT], configuration: half }));
  t.match(planned.blocked[0], /its identity cannot be taken over: meeting\.token, meeting\.proxy\.host .*not JSON/);
  t.equal(contentOf(planned), null);
  t.strictSame(plan(facts({ entries: [MONITOR], configuration: half })).blocked, [], 'without an agent none is needed');
});

t.test('pairing goes to another port only where theirs stays on ours', async (t) => {
  const at = (who: 'pairing' | 'more' | 'unknown' | 'ours') => [
    { port: 5000, shown: 'python3 app.py (process 9)', who },
  ];
  t.equal(plan(facts({ entries: [AGENT, PAIRING], holders: at('pairing') })).httpPort, 5000);
  const older = plan(facts({ entries: [AGENT, OLDER], holders: at('more'), takenPorts: new Set([5000, 5080]) }));
  t.equal(older.httpPort, 5081);
  t.match(contentOf(older), { http: { port: 5081 } });
  t.match(older.notes.join(), /Pairing is on port 5081 instead, and is announced there by mDNS \(http=5081\)/);
  t.strictSame(
    older.entries.map(({ name }) => name),
    ['agent.service'],
  );
  t.equal(plan(facts({ entries: [AGENT], holders: at('unknown') })).httpPort, 5080, 'what is unknown is never stopped');
  t.equal(plan(facts({ entries: [AGENT], holders: at('ours') })).httpPort, 5000);
  const later = { ...OLDER, running: false };
  t.equal(plan(facts({ entries: [AGENT, later] })).httpPort, 5080, 'it takes the port at the next boot');
});

t.test('an agent that cannot be stopped alone stands in the way', async (t) => {
  const blocked = (more: Partial<Facts>) => plan(facts(more)).blocked.join('\n');
  t.match(
    blocked({ entries: [{ ...AGENT, others: ['/opt/x/camera.py'] }] }),
    /cannot be stopped without the rest: .*camera\.py/,
  );
  t.match(blocked({ entries: [{ ...AGENT, obstacle: 'it stands in /etc/inittab' }] }), /inittab/);
  const loose = {
    role: 'agent' as const,
    program: '/root/tunnel_agent.py',
    pid: 7,
    startTicks: 1,
    shown: 'python3 /root/tunnel_agent.py (process 7)',
  };
  t.match(
    blocked({ processes: [{ ...loose, program: '/opt/y/tunnel_agent.sh' }] }),
    /nothing was found that starts it/,
  );
  t.equal(blocked({ entries: [AGENT], processes: [loose] }), '', 'by its name it belongs to the unit');
  t.match(
    blocked({ strangersAtProxy: ['cam (process 8)'] }),
    /An unknown program holds a connection to the port of the proxy: cam/,
  );
  const monitor = { ...MONITOR, others: ['/opt/x/led.sh'] };
  t.equal(blocked({ entries: [AGENT, monitor] }), '', 'a monitor may stay beside ours');
});

t.test('nothing is begun where ours could not take the place', async (t) => {
  const blocked = (more: Partial<Facts>) => plan(facts({ entries: [AGENT], ...more })).blocked.join('\n');
  t.equal(blocked({}), '');
  t.match(blocked({ isRoot: false }), /run the command as root/);
  t.match(blocked({ init: null }), /No init system that is known runs here/);
  const ours = { installed: false, enabled: false, running: false, shadowedBy: null };
  t.match(blocked({ ours }), /not installed here; install it first/);
  t.match(
    blocked({ ours: { ...ours, installed: true, shadowedBy: '/etc/systemd/system/zeroforce.service' } }),
    /starts another program/,
  );
  t.match(
    blocked({ configuration: configuration(IDENTITY, { text: '{', faults: ['line 1'], settled: true }) }),
    /is wrong, and ours would not start/,
  );
});

t.test('the device counts as paired by a key, by a flag, or where nobody can tell', async (t) => {
  const marks = (more: Partial<Facts['pairing']>) =>
    plan(facts({ entries: [AGENT], pairing: { ...facts().pairing, ...more } })).markPaired;
  t.notOk(marks({}));
  t.ok(marks({ keys: 'key' }));
  t.ok(marks({ flag: true }));
  t.ok(marks({ keys: 'unreadable' }));
  t.notOk(marks({ keys: 'key', marked: true }), 'it is remembered already');
});

t.test('our sshd gives way to theirs, which holds the port', async (t) => {
  const sshd = entry({ role: 'sshd', program: '/opt/beamer/beamer-ssh-tunnel' }, { name: 'beamer-sshd.service' });
  const ourSshd = { ...sshd, name: 'zeroforce-sshd.service' };
  const planned = plan(facts({ entries: [AGENT, sshd], ourSshd }));
  t.strictSame(
    planned.entries.map(({ name }) => name),
    ['agent.service', 'zeroforce-sshd.service'],
  );
  t.strictSame(
    plan(facts({ entries: [AGENT], ourSshd })).entries.map(({ name }) => name),
    ['agent.service'],
  );
});
