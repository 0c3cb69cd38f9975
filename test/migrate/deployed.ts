/**
 * Stand-ins of the software that devices ran before, made from what is known of it: small programs that do on the wire and
 * on the disk what that software does. The Python ones are run by Node under the name of `python3`, which the test systems
 * do not have.
 */
import type { Board } from '../install/board.ts';

/** As a deployed tunnel agent, over the legacy protocol (docs: src/protocol/README.md): one session, dialled again after 1 s. */
const AGENT = `
const net = require('net');
const fs = require('fs');
const settings = JSON.parse(fs.readFileSync('/etc/rpi-cam/meeting.json', 'utf8'));
const frame = (type, id, payload = Buffer.alloc(0)) => {
  const head = Buffer.alloc(9);
  head.write(type);
  head.writeUInt32BE(id, 1);
  head.writeUInt32BE(payload.length, 5);
  return Buffer.concat([head, payload]);
};
function dial() {
  const proxy = net.connect(settings.tunnel_port, settings.tunnel_host, () => {
    proxy.write(JSON.stringify({ token: settings.token_code, name: settings.device_key }) + '\\n');
  });
  const streams = new Map();
  let rest = Buffer.alloc(0);
  let accepted = false;
  proxy.on('error', () => undefined);
  proxy.on('close', () => {
    for (const stream of streams.values()) stream.destroy();
    setTimeout(dial, 1000);
  });
  proxy.on('data', (bytes) => {
    rest = Buffer.concat([rest, bytes]);
    if (!accepted) {
      const end = rest.indexOf(10);
      if (end < 0) return;
      accepted = true;
      rest = rest.subarray(end + 1);
    }
    while (rest.length >= 9 && rest.length >= 9 + rest.readUInt32BE(5)) {
      const [type, id, length] = [String.fromCharCode(rest[0]), rest.readUInt32BE(1), rest.readUInt32BE(5)];
      const payload = Buffer.from(rest.subarray(9, 9 + length));
      rest = rest.subarray(9 + length);
      if (type === 'N') {
        const local = net.connect(payload.readUInt16BE(0), '127.0.0.1');
        streams.set(id, local);
        local.on('data', (data) => proxy.write(frame('D', id, data)));
        local.on('error', () => undefined);
        local.on('close', () => streams.delete(id) && proxy.write(frame('C', id)));
      } else if (type === 'D') streams.get(id)?.write(payload);
      else if (type === 'C') streams.get(id)?.end();
    }
  });
}
dial();
`;

/** The rules of the deployed application: memory alone, and the flag of the monitor. */
const PAIRING = `
const http = require('http');
const fs = require('fs');
const app = { routes: new Map(), route(path, answer) { this.routes.set(path, answer); } };
const timeout = Number(process.env.ZEROFORCE_PAIRING_TIMEOUT ?? 600);
let everSeen = false;
let lost = null;
function ready() {
  if (fs.existsSync('/run/zeroforce/tunnel_active')) {
    everSeen = true;
    lost = null;
    return false;
  }
  if (!everSeen) return true;
  lost ??= Date.now();
  return Date.now() - lost >= timeout * 1000;
}
app.route('/zeroforce/readytopair', () => [200, String(ready())]);
app.route('/zeroforce/setkey', (body) => {
  if (!ready()) return [403, '{"ok":false}'];
  fs.writeFileSync('/root/.ssh/authorized_keys', new URLSearchParams(body).get('key') + '\\n');
  return [200, '{"ok":true}'];
});
`;
const SERVE = `
http.createServer((request, response) => {
  let body = '';
  request.on('data', (text) => (body += text));
  request.on('end', () => {
    const [status, text] = app.routes.get(request.url)?.(body) ?? [404, 'Not Found'];
    response.writeHead(status).end(text);
  });
}).listen(PORT, '0.0.0.0');
`;
const USB = `
app.route('/api/exported-devices', () => [200, '["1-1.4"]']);
app.route('/api/bind', () => [200, 'OK']);
`;

const MONITOR = `#!/bin/sh
TUNNEL_PORT="\${ZEROFORCE_TUNNEL_PORT:-8007}"
RUN_DIR=/run/zeroforce
FLAG="$RUN_DIR/tunnel_active"
mkdir -p "$RUN_DIR"
while true; do
  if netstat -tn 2>/dev/null | grep ESTABLISHED | grep -q ":$TUNNEL_PORT "; then touch "$FLAG"; else rm -f "$FLAG"; fi
  sleep 1
done
`;

const SSHD = `Port 8007
PidFile /run/beamer-sshd.pid
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile /root/.ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
AllowTcpForwarding local
`;

export const FILES = {
  agent: '/opt/rpi-cam-webmanager/tunnel_agent.py',
  monitor: '/opt/beamer/zeroforce_tunnel_monitor.sh',
  app: '/opt/beamer/legacy_app.py',
  usb: '/opt/beamer/usb_app.py',
  sshd: '/opt/beamer/beamer-ssh-tunnel',
  meeting: '/etc/rpi-cam/meeting.json',
  keys: '/root/.ssh/authorized_keys',
} as const;

export interface Deployment {
  /** `older`: one application for pairing and USB; `newer`: one for each. */
  readonly app: 'older' | 'newer';
  readonly meeting: {
    readonly deviceKey: string;
    readonly token: string;
    readonly proxy: { readonly host: string; readonly port: number };
  };
  readonly pairedKey: string;
}

/** Puts the programs and files of the deployed software on a board; what starts them comes besides. */
export async function deploy(board: Board, { app, meeting, pairedKey }: Deployment): Promise<void> {
  await board.must(
    '[ -e /usr/bin/python3 ] || ln -s "$(command -v node)" /usr/bin/python3; ssh-keygen -A; mkdir -p -m 700 /root/.ssh',
  );
  await board.write(FILES.agent, AGENT, 0o755);
  await board.write(FILES.monitor, MONITOR, 0o755);
  await deployApp(board, app);
  await board.write(FILES.sshd, SSHD);
  await board.write(FILES.keys, `${pairedKey}\n`, 0o600);
  const { deviceKey, token, proxy } = meeting;
  const deployed = {
    device_key: deviceKey,
    token_code: token,
    tunnel_host: proxy.host,
    tunnel_port: proxy.port,
    tunnel_ssl: false,
    heartbeat_interval: 60,
    camera_name: 'garage',
  };
  await board.write(FILES.meeting, `${JSON.stringify(deployed, null, 4)}\n`);
  await board.write(
    '/etc/meeting/device_info.json',
    `${JSON.stringify({ device_key: deviceKey, type: 'RTSP-Recorder' })}\n`,
  );
}

/** The application alone; the older one has USB in it. */
export async function deployApp(board: Board, app: Deployment['app']): Promise<void> {
  const source = app === 'older' ? `${PAIRING}${USB}${SERVE}` : `${PAIRING}${SERVE}`;
  await board.write(FILES.app, source.replace('PORT', '5000'));
  if (app === 'older') return;
  const head =
    "const http = require('http');\nconst app = { routes: new Map(), route(path, answer) { this.routes.set(path, answer); } };";
  await board.write(FILES.usb, `${head}${USB}${SERVE}`.replace('PORT', '6000'));
}

const unit = (description: string, start: string, more = '') => `[Unit]
Description=${description}
After=network.target

[Service]
ExecStart=${start}
Restart=always
RestartSec=1
# Where the board has control groups of version 1 only, systemd is not told that the last process has ended.
TimeoutStopSec=5
${more}
[Install]
WantedBy=multi-user.target
`;

/** The units of the deployed software, enabled and running. */
export async function startUnits(board: Board, { app }: Pick<Deployment, 'app'>): Promise<string[]> {
  const units: Record<string, string> = {
    'meeting-tunnel.service': unit('Meeting tunnel', `/usr/bin/python3 ${FILES.agent}`),
    'beamer-monitor.service': unit('Tunnel monitor', FILES.monitor, 'RuntimeDirectory=zeroforce\n'),
    'beamer-web.service': unit(
      'Beamer',
      `/usr/bin/python3 ${FILES.app}`,
      'ProtectHome=read-only\nReadWritePaths=/root/.ssh\n',
    ),
    'beamer-sshd.service': unit(
      'Tunnel sshd',
      `/usr/sbin/sshd -D -f ${FILES.sshd}`,
      'RuntimeDirectory=sshd\nRuntimeDirectoryPreserve=yes\n',
    ),
    ...(app === 'newer' ? { 'beamer-usb.service': unit('USB', `/usr/bin/python3 ${FILES.usb}`) } : {}),
  };
  for (const [name, text] of Object.entries(units)) await board.write(`/etc/systemd/system/${name}`, text);
  const names = Object.keys(units);
  await board.must(`systemctl daemon-reload && systemctl enable --now ${names.join(' ')}`);
  return names;
}

/** What there is on the disk of the deployed software and of the system's services: names, modes, owners, content. */
export function fingerprint(board: Board): Promise<string> {
  return board.must(`
    for folder in /etc/systemd /etc/init.d /etc/runlevels /etc/rc*.d /etc/rpi-cam /etc/meeting /etc/zeroforce /etc/cron* /etc/rc.local /var/spool/cron /opt /root; do
      [ -e "$folder" ] || continue
      find "$folder" \\( -type d -o -type l \\) -printf '%p %m %u %l\\n' -o -type f -printf '%p %m %u ' -exec sha256sum {} \\;
    done | sort`);
}

/** As images of Buildroot had it. Like many of them, its `stop` finds no process. */
const script = (name: string, program: string) => `#!/bin/sh
case "$1" in
  start) start-stop-daemon -S -q -b -m -p /var/run/${name}.pid -x /bin/sh -- -c 'exec ${program}' ;;
  stop) start-stop-daemon -K -q -p /var/run/no-such.pid ;;
esac
`;

/** Init scripts of BusyBox and a table of cron that watches them, started. Gives the files. */
export async function startScripts(board: Board): Promise<string[]> {
  const files = {
    '/etc/init.d/S91beamer-web': script('web', `/usr/bin/python3 ${FILES.app}`),
    '/etc/init.d/S92zeroforce-monitor': script('monitor', `/bin/sh ${FILES.monitor}`),
    '/etc/init.d/S93meeting-tunnel': script('agent', `/usr/bin/python3 ${FILES.agent}`),
  };
  for (const [path, text] of Object.entries(files)) await board.write(path, text, 0o755);
  const cron = '/var/spool/cron/crontabs/root';
  await board.write(
    cron,
    `# watched since 2024\n17 3 * * * /usr/sbin/logrotate\n*/5 * * * * pgrep -f tunnel_agent.py || /etc/init.d/S93meeting-tunnel start\n`,
    0o600,
  );
  await board.must(
    `/usr/sbin/sshd -f ${FILES.sshd}; for each in ${Object.keys(files).join(' ')}; do "$each" start; done`,
  );
  return [...Object.keys(files), cron];
}

/** A service of OpenRC for the monitor, and a file of `local` for the agent, as somebody had added it by hand; started. */
export async function startOpenrc(board: Board): Promise<void> {
  const monitor = `#!/sbin/openrc-run\ncommand=/bin/sh\ncommand_args=${FILES.monitor}\ncommand_background=yes\npidfile=/run/tunnel-monitor.pid\n`;
  await board.write('/etc/init.d/tunnel-monitor', monitor, 0o755);
  await board.write(
    '/etc/local.d/meeting.start',
    `#!/bin/sh\n/usr/bin/python3 ${FILES.agent} >/dev/null 2>&1 &\n`,
    0o755,
  );
  await board.must(
    'rc-update -q add tunnel-monitor default; rc-update -q add local default; rc-service tunnel-monitor start',
  );
  await board.must('/etc/local.d/meeting.start');
}
