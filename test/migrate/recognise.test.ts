import t from 'tap';
import {
  cronCommand,
  flagFolderOf,
  isOurs,
  judgeApp,
  mentionedPrograms,
  partOfWords,
  programOfWords,
  readSource,
  readSshdConfig,
  standsAlone,
  withoutLines,
} from '../../src/migrate/recognise.ts';
import { startWords } from '../../src/migrate/tables.ts';

t.test('a program is known by the words that it runs with', async (t) => {
  const words = (line: string) => line.split(' ');
  const role = (line: string) => partOfWords(words(line))?.role ?? null;
  t.equal(role('/usr/bin/python3 -u /opt/rpi-cam-webmanager/tunnel_agent.py --verbose'), 'agent');
  t.equal(role('python3 -m tunnel_agent'), 'agent');
  t.equal(role('/opt/meeting/venv/bin/python3.11 -X utf8 /opt/meeting/meeting_tunnel_agent.py'), 'agent');
  t.equal(role('/bin/sh /opt/beamer/zeroforce_tunnel_monitor.sh'), 'monitor');
  t.equal(role('busybox sh /opt/beamer/zeroforce_tunnel_monitor.sh'), 'monitor');
  t.equal(role('/usr/sbin/sshd -f /opt/beamer/beamer-ssh-tunnel'), 'sshd');
  t.strictSame(
    partOfWords(['sshd: /usr/sbin/sshd -D -f /opt/beamer/beamer-ssh-tunnel [listener] 0 of 10-100 startups']),
    {
      role: 'sshd',
      program: '/opt/beamer/beamer-ssh-tunnel',
    },
  );

  for (const other of [
    'node --optimize-for-size /usr/lib/zeroforce/tunnel-agent.cjs run',
    '/bin/sh /usr/bin/tunnel-agent run',
    'vim /opt/rpi-cam-webmanager/tunnel_agent.py',
    'tail -f /var/log/tunnel_agent.log',
    'python3 -c import tunnel_agent',
    'python3 /opt/x/not_tunnel_agent.py',
    'sshd: root@pts/0',
    'python3',
    '',
  ]) {
    t.equal(role(other), null, other);
  }
  t.ok(isOurs(words('node /opt/zeroforce/current/tunnel-agent.cjs run')));
  t.notOk(isOurs(words('python3 /opt/x/tunnel_agent.py')));
  t.equal(programOfWords(words('env A=b python3 x.py')), 'x.py');
});

t.test('what a script starts is read from its text', async (t) => {
  const script = `#!/bin/sh
# /opt/old/thing.sh is not started any more
DAEMON="zeroforce-monitor"
PIDFILE="/var/run/$DAEMON.pid"
PATH=/sbin:/usr/sbin:/bin:/opt/bin
[ -r /etc/default/zeroforce ] && . /etc/default/zeroforce
start-stop-daemon -S -b -m -p "$PIDFILE" -x /bin/sh -- /opt/beamer/zeroforce_tunnel_monitor.sh
cd /opt/rpi-cam-webmanager && python3 $DIR/tunnel_agent.py >/var/log/agent.log 2>&1 &
`;
  const found = mentionedPrograms(script);
  t.ok(found.includes('/opt/beamer/zeroforce_tunnel_monitor.sh'));
  t.ok(found.some((each) => each.endsWith('/tunnel_agent.py')));
  t.notOk(
    found.some((each) => each.includes('/opt/old')),
    'comments start nothing',
  );
  t.notOk(found.some((each) => /^\/(?:bin|usr|var|etc)\//.test(each)));
});

const FLASK = `
from flask import Flask, request, jsonify
import os, json
# @app.route('/api/exported-devices')
app = Flask(__name__)

@app.route('/zeroforce/readytopair')
def ready():
    return 'true'

@app.route("/zeroforce/setkey", methods=['POST'])
def setkey():
    return jsonify(ok=True)
`;

t.test('an application for pairing alone is known as such, and nothing else is', async (t) => {
  const judge = (text: string, more = {}) =>
    judgeApp({ source: readSource(text), exportedDevices: null, ports: [5000], ...more }).role;
  t.equal(judge(FLASK), 'pairing');
  t.equal(judge(FLASK, { exportedDevices: 404 }), 'pairing');
  t.equal(judge(FLASK, { exportedDevices: 200 }), 'more', 'by its answer');
  t.equal(judge(FLASK, { exportedDevices: 500 }), 'more', 'by an answer that is not clear');
  t.equal(judge(FLASK, { ports: [5000, 6000] }), 'more', 'by its ports');
  t.equal(
    judgeApp({ source: null, exportedDevices: 404, ports: [5000] }).role,
    'more',
    'without a source nobody knows',
  );
  for (const more of [
    "@app.route('/api/exported-devices')",
    "@app.get('/')",
    "app.add_url_rule('/usb', view_func=usb)",
    'app.register_blueprint(usb)\n@bp.route(prefix + "/bind")',
    "subprocess.run(['usbip', 'bind'])",
    "os.system('usbip')",
    "importlib.import_module('usb')",
    'sock.bind(addr)',
    '@app.errorhandler(404)',
  ]) {
    t.equal(judge(`${FLASK}\n${more}\n`), 'more', more);
  }
  t.strictSame(readSource('from usb.ids import x\nimport os, key_store as k\nfrom . import near').imports, [
    'usb',
    'os',
    'key_store',
  ]);
});

t.test('the flag, the sshd and the tables are read as their programs read them', async (t) => {
  t.equal(flagFolderOf('touch /run/zeroforce/tunnel_active'), '/run/zeroforce');
  t.equal(flagFolderOf('RUN_DIR="/run/beamer"\ntouch "$RUN_DIR/tunnel_active"'), '/run/beamer');
  t.equal(flagFolderOf('touch "$X/tunnel_active"'), null);

  t.strictSame(
    readSshdConfig('# Port 22\nPort 8007\nport 9\nAuthorizedKeysFile .ssh/keys .ssh/more\nMatch User x\nPort 1\n'),
    {
      port: 8007,
      keysFile: '/root/.ssh/keys',
    },
  );
  t.strictSame(readSshdConfig('AuthorizedKeysFile\t%h/keys\nPort 99999'), { port: null, keysFile: '/root/keys' });
  t.strictSame(readSshdConfig('AuthorizedKeysFile none'), { port: null, keysFile: null });

  t.strictSame(cronCommand('@reboot root /opt/x/tunnel_agent.sh', true), {
    command: '/opt/x/tunnel_agent.sh',
    atBoot: true,
    user: 'root',
  });
  t.strictSame(cronCommand('*/5 * * * * pgrep x || y', false), { command: 'pgrep x || y', atBoot: false });
  t.equal(cronCommand('MAILTO=root', false), null);
  t.strictSame(startWords('/opt/x', 'root'), ['sh', '-c', '/opt/x']);
  t.match(startWords('/home/pi/x', 'pi'), ['su', /-s/, '/bin/sh'], 'what was not started as root is not later, either');
  t.equal(cronCommand('# @reboot x', false), null);

  const local = [
    '#!/bin/sh',
    'if [ -e /x ]; then',
    '  /opt/a &',
    'fi',
    '/opt/b && \\',
    '  /opt/c',
    '/opt/d &',
    'exit 0',
  ];
  t.ok(standsAlone(local, 2));
  t.notOk(standsAlone(local, 1));
  t.notOk(standsAlone(local, 4));
  t.notOk(standsAlone(local, 5), 'the second half of a command');
  t.ok(standsAlone(local, 6));
  t.equal(withoutLines('a\nb\n', new Set([0]), true), ': # taken over by zeroforce: a\nb\n');
});
