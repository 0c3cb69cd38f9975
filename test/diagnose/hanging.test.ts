import t from 'tap';
import { requires } from '../support/requires.ts';
import { machine, NEEDS_MACHINE } from './machine.ts';

/** Accepts connections and says nothing, at each of its arguments: a port or a socket in the file system. */
const SILENT = `
for (const at of process.argv.slice(1)) {
  require('node:net').createServer(() => undefined).listen(/^\\d+$/.test(at) ? Number(at) : at, () => console.log('listening'));
}`;

t.test(
  'everything hangs at once, and there is a whole report within 15 s',
  requires(...NEEDS_MACHINE, 'iptables'),
  async (t) => {
    const device = await machine(t);
    // Names: three servers take every question, and answer none. Each name holds a thread for 30 s, and the process with it.
    const lan = device.inLan.slice(device.inside.length).join(' ');
    for (const host of [1, 2, 3]) {
      await device.sh(`echo nameserver 192.168.77.${host} >>/etc/resolv.conf`);
      if (host > 1) await device.sh(`${lan} ip addr add 192.168.77.${host}/24 dev eth0`);
    }
    await device.sh(`sed -i /127/d /etc/resolv.conf; ${lan} iptables -P INPUT DROP`);
    // The service, the SSH server, the pairing routes and netstat.
    await device.write('/opt/netstat', '#!/bin/sh\nexec sleep 600\n', 0o755);
    await device.sh('mkdir -p /run/zeroforce && chmod 755 /run/zeroforce');
    await device.start(
      [process.execPath, '-e', SILENT, '22', '5000', '8007', '/run/zeroforce/control.sock'],
      /(listening\s+){4}/,
    );
    await device.configure({
      meeting: {
        ...{ deviceKey: 'beamer-7', token: 'token-of-beamer-7', proxy: { host: 'proxy.example' } },
        api: { url: 'https://api.example' },
      },
      monitor: { netstat: '/opt/netstat' },
      services: { ssh: 22, http: 80 },
    });

    const startMs = performance.now();
    const { report, code } = await device.diagnose(['--public-port', 'public.example:9063']);
    const tookMs = performance.now() - startMs;
    t.ok(tookMs < 15_000, `it took ${Math.round(tookMs)} ms`);
    t.ok(report.durationMs <= 13_500, `the checks took ${report.durationMs} ms`);
    t.equal(code, report.ok ? 0 : 1, 'the exit code is that of the report');
    t.ok(report.checks.length > 10);
    for (const { id, durationMs } of report.checks) t.ok(durationMs <= 6_500, `${id} took ${durationMs} ms`);
    t.comment(
      report.checks
        .map(({ id, status, durationMs, summary }) => `${id} ${status} ${durationMs} ms: ${summary}`)
        .join('\n'),
    );
  },
);
