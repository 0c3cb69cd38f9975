import { spawn } from 'node:child_process';
import t, { type Test } from 'tap';
import { endChild } from '../support/processes.ts';
import { freshKeyLine } from '../support/public-keys.ts';
import { requires } from '../support/requires.ts';
import { until } from '../support/until.ts';
import { ADDRESS, expectCause, expectHealthy, type Machine, machine, NEEDS_MACHINE } from './machine.ts';

const ALONE = ['--no-network'];
const QUIET = { mdns: { enabled: false } };
const FLAG = '/run/zeroforce/tunnel_active';
const TUNNEL_PORT = 8007;

t.test('the netstat of the monitor', requires(...NEEDS_MACHINE, 'busybox'), async (t) => {
  const device = await machine(t);
  await device.sshd();
  const using = (netstat: string) => ({ ...QUIET, monitor: { intervalSeconds: 0.2, netstat } });
  await device.configure(QUIET);
  const service = await device.service();

  await t.test('there is none', async (t) => {
    await device.configure(using('/opt/none'));
    expectCause(t, await device.diagnose(ALONE), 'monitor.netstat', /no program \/opt\/none/);
  });

  const scripts: [name: string, script: string, summary: RegExp][] = [
    ['fails', 'echo "cannot open /proc" >&2; exit 1', /fails: .*cannot open \/proc/],
    ['prints something else', 'echo hello', /something else than a table/],
    ['hangs', 'sleep 60', /gives no answer/],
    ['cannot read the tables of the kernel', 'echo "Proto"; echo "/proc/net/tcp: denied" >&2', /saw only a part/],
  ];
  for (const [name, script, summary] of scripts) {
    await t.test(`it ${name}`, async (t) => {
      await device.write('/opt/netstat', `#!/bin/sh\n${script}\n`, 0o755);
      await device.configure(using('/opt/netstat'));
      expectCause(t, await device.examine(), 'monitor.netstat', summary);
    });
  }

  await t.test('it works by hand, and not for the service', async (t) => {
    const script = `tr '\\0' ' ' </proc/$PPID/cmdline | grep -q ' run' && exit 1; exec netstat "$@"`;
    await device.write('/opt/picky', `#!/bin/sh\n${script}\n`, 0o755);
    await device.reconfigure(service, using('/opt/picky'));
    await until('its monitor to fail', () => service.log().includes('/opt/picky -tn failed'));
    expectCause(t, await device.examine(), 'monitor.netstat', /works here, and fails for the service/);
  });

  await t.test('healthy: the one of BusyBox, and the one of net-tools', async (t) => {
    await device.sh('mkdir -p /opt/busybox; ln -s "$(command -v busybox)" /opt/busybox/netstat');
    for (const netstat of ['/opt/busybox/netstat', 'netstat']) {
      await device.reconfigure(service, using(netstat));
      const found = await device.examine();
      expectHealthy(t, found);
      t.match(found.check('monitor.netstat').evidence, `${netstat} -tn`);
    }
  });
});

t.test('the flag of the monitor', requires(...NEEDS_MACHINE, 'busybox'), async (t) => {
  const device = await machine(t);
  await device.sshd(`Port 22\nPort ${TUNNEL_PORT}`);
  await device.write('/root/.ssh/authorized_keys', `${freshKeyLine()}\n`, 0o600);

  await t.test('with an outside monitor', async (t) => {
    await device.configure({ ...QUIET, monitor: { enabled: false } });
    const service = await device.service();

    await t.test('stale: it stands, and no tunnel does', async (t) => {
      await device.sh(`: >${FLAG}`);
      const found = await device.examine();
      expectCause(t, found, 'monitor.fresh', /no connection to port 8007 does: it is stale/);
      t.equal(found.check('monitor.netstat').status, 'skip');
    });

    const tunnel = await connectFromLan(t, device);
    await t.test('healthy: a tunnel stands, and the flag', async (t) => {
      expectHealthy(t, await device.examine());
    });

    await t.test('missed: a tunnel stands, and pairing could open beside it', async (t) => {
      await device.sh(`rm ${FLAG}`);
      expectCause(t, await device.examine(), 'monitor.fresh', /the monitor does not see the tunnel/);
    });
    await tunnel.end();
    await t.test('healthy: neither of them', async (t) => {
      expectHealthy(t, await device.examine());
    });
    await service.stop();
  });

  await t.test('with its own monitor', async (t) => {
    const looking = (intervalSeconds: number, confirmSeconds = 0) => ({
      ...QUIET,
      monitor: { intervalSeconds, confirmSeconds },
    });
    await device.configure(looking(0.2));
    const service = await device.service();

    await t.test('the flag cannot be written', async (t) => {
      await device.sh(`mkdir -p ${FLAG}/in-the-way`);
      await until('the monitor to report it', () => service.log().includes('monitor.flag-unwritable'));
      expectCause(t, await device.examine(), 'monitor.fresh', /cannot do its work: .*tunnel_active/);
      await device.sh(`rm -r ${FLAG}`);
    });

    await t.test('another program keeps making it', async (t) => {
      const code = `const fs = require('fs'); const make = () => fs.existsSync('${FLAG}') || fs.writeFileSync('${FLAG}', '');
        make(); fs.watch('/run/zeroforce', make); console.log('up')`;
      const rival = await device.start(['node', '-e', code], /up/);
      expectCause(t, await device.examine(), 'monitor.fresh', /says none of the tunnel, and the flag .* present/);
      await rival.stop();
    });

    await t.test('healthy: a tunnel stands; then it is gone', async (t) => {
      const tunnel = await connectFromLan(t, device);
      const found = await device.examine();
      expectHealthy(t, found);
      t.match(found.check('monitor.fresh').summary, 'a tunnel stands');
      await tunnel.end();
      expectHealthy(t, await device.examine());
    });

    await t.test('healthy: a connection that does not count yet, as one of a stranger', async (t) => {
      await device.reconfigure(service, looking(0.2, 60));
      const stranger = await connectFromLan(t, device);
      expectHealthy(t, await device.examine());
      await stranger.end();
    });

    await t.test('a connection that it cannot have seen yet is not known, and no alarm', async (t) => {
      await device.reconfigure(service, looking(60, 60));
      const tunnel = await connectFromLan(t, device);
      const found = await device.examine();
      t.ok(found.report.ok);
      t.match(found.check('monitor.fresh'), { status: 'unknown', remedy: /Try again/ });
      await tunnel.end();
    });

    await t.test('since-connected has not changed for too long', async (t) => {
      await device.sh('echo 5000 >/run/zeroforce/since-connected');
      expectCause(t, await device.examine(), 'monitor.fresh', /says 5000 s, and the service \d+ s/);
    });
  });
});

/** A client in the home network that connects to the sshd of the tunnel and says nothing. */
async function connectFromLan(t: Test, device: Machine): Promise<{ end: () => Promise<void> }> {
  const [program = '', ...args] = [...device.inLan, 'busybox', 'nc', ADDRESS, String(TUNNEL_PORT)];
  const client = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const end = () => endChild(client);
  t.teardown(end);
  let said = '';
  client.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  await until('sshd to greet', () => said.includes('SSH-2.0'));
  return { end };
}
