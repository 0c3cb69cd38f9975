import { resolve } from 'node:path';
import t from 'tap';
import { requires } from '../support/requires.ts';
import { PROGRAM } from '../support/service.ts';
import { until } from '../support/until.ts';
import { expectCause, expectHealthy, type Machine, machine, NEEDS_MACHINE } from './machine.ts';

const ALONE = ['--no-network'];
const SOCKET = '/run/zeroforce/control.sock';
const QUIET = { mdns: { enabled: false } };

t.test('the service itself', requires(...NEEDS_MACHINE), async (t) => {
  const device = await machine(t);
  await device.sshd();
  await device.configure(QUIET);

  await t.test('it was never started', async (t) => {
    const found = await device.examine();
    expectCause(t, found, 'service.running', /does not run/);
    t.match(found.check('service.running').remedy, /tunnel-agent run/);
    t.equal(found.check('run.dir').status, 'ok', 'the missing run folder is made by the service');
  });

  await t.test('the remedy names what starts it: BusyBox, OpenRC, systemd', async (t) => {
    const remedy = async () => (await device.examine()).check('service.running').remedy;
    await device.write('/etc/init.d/S80zeroforce', '#!/bin/sh\nDAEMON=zeroforce\n# tunnel-agent\n', 0o755);
    t.match(await remedy(), '/etc/init.d/S80zeroforce restart');
    await device.sh('mkdir /run/openrc; mv /etc/init.d/S80zeroforce /etc/init.d/zeroforce');
    t.match(await remedy(), 'rc-service zeroforce restart');
    await device.sh('mkdir -p /run/systemd/system; rm -r /run/openrc /etc/init.d/zeroforce');
    await device.write('/etc/systemd/system/zeroforce.service', '[Service]\nExecStart=/usr/bin/tunnel-agent run\n');
    t.match(await remedy(), 'systemctl restart zeroforce.service; journalctl -u zeroforce.service');
    await device.sh('rm -r /run/systemd /etc/systemd/system/zeroforce.service');
  });

  await t.test('it was killed, and left its socket', async (t) => {
    await device.service();
    const pid = await pidOf(device);
    await device.sh(`kill -9 ${pid}; while grep -qs '^State:.[^ZX]' /proc/${pid}/status; do sleep 0.01; done`);
    const found = await device.examine();
    expectCause(t, found, 'service.running', /does not run/);
    t.match(found.check('service.running').evidence, /no process tunnel-agent run/);
  });

  await t.test('another program listens at its socket', async (t) => {
    const code = `require('http').createServer((_, s) => s.end('hello')).listen('${SOCKET}', () => console.log('up'))`;
    await device.sh(`rm ${SOCKET}`);
    const stranger = await device.start(['node', '-e', code], /up/);
    expectCause(t, await device.diagnose(ALONE), 'service.running', /answers at .*control\.sock: node -e require/);
    await stranger.stop();
    await device.sh(`rm -f ${SOCKET}`);
  });

  await t.test('it runs with another run folder: nobody knows, and no alarm', async (t) => {
    const service = await device.service({ ZEROFORCE_RUN_DIR: '/run/other' });
    const found = await device.examine();
    const { status, remedy } = found.check('service.running');
    t.equal(status, 'unknown');
    t.equal(found.report.cause, null);
    t.match(remedy, 'ZEROFORCE_RUN_DIR=/run/other tunnel-agent diagnose');
    t.equal((await device.examine({ ZEROFORCE_RUN_DIR: '/run/other' })).check('service.running').status, 'ok');
    await service.stop();
  });

  await t.test('it hangs: stopped by a signal', async (t) => {
    const service = await device.service();
    const pid = await pidOf(device);
    await device.sh(`kill -STOP ${pid}`);
    const found = await device.examine();
    expectCause(t, found, 'service.running', new RegExp(`process ${pid} was stopped by a signal`));
    t.ok(found.report.durationMs < 15_000);

    await t.test('and its socket is gone: a process that nobody can ask', async (t) => {
      await device.sh(`rm ${SOCKET}`);
      const early = await device.examine();
      t.match(early.check('service.running').status, /unknown|fail/);
      // No event tells that it is no longer new.
      const age = `$(cut -d. -f1 /proc/uptime) - $(cut -d' ' -f22 /proc/${pid}/stat) / 100`;
      await device.sh(`while [ $((${age})) -le 21 ]; do sleep 1; done`);
      expectCause(t, await device.examine(), 'service.running', /without its control socket/);
    });
    await device.sh(`kill -CONT ${pid}`);
    await service.stop();
  });

  await t.test('an older version runs than the one that is installed', async (t) => {
    const build = resolve(import.meta.dirname, '../..');
    await device.sh(`mkdir -p /opt/old
      cp -r ${build}/src /opt/old/
      ln -s ${resolve(build, '../node_modules')} /opt/old/node_modules
      sed 's/"version": *"[^"]*"/"version": "0.0.9"/' ${build}/package.json >/opt/old/package.json`);
    const old = await device.start(['node', '/opt/old/src/cli/tunnel-agent.js', 'run'], /"the service is ready"/);
    const found = await device.examine();
    t.ok(found.report.ok, 'it works');
    t.match(found.check('service.version'), { status: 'warn', summary: /0\.0\.9 runs, and version .* is installed/ });
    await old.stop();
  });

  await t.test('healthy: it runs, and started by a shell', async (t) => {
    const service = await device.start(['sh', '-c', `${PROGRAM} run; true`], /"the service is ready"/);
    expectHealthy(t, await device.examine());

    await t.test('a change that waits for a restart is a warning', async (t) => {
      await device.reconfigure(service, { ...QUIET, pairing: { resetFile: '/boot/other-reset' } });
      const found = await device.examine();
      t.match(found.check('service.running'), {
        status: 'warn',
        summary: /does not run with the present configuration/,
      });
    });
    await service.stop();
  });
});

t.test('the run folder', requires(...NEEDS_MACHINE), async (t) => {
  const device = await machine(t);
  await device.sshd();
  await device.configure(QUIET);

  const cases: [name: string, make: string, summary: RegExp][] = [
    ['is a link', 'mkdir /run/elsewhere; ln -s /run/elsewhere /run/zeroforce', /no folder but a link/],
    ['can be written by everybody', 'mkdir -m 1777 /run/zeroforce', /Everybody may write.*mode 1777/],
    ['belongs to somebody else', 'mkdir /run/zeroforce; chown 1500 /run/zeroforce', /belongs to user 1500.*is user 0/],
  ];
  for (const [name, make, summary] of cases) {
    await t.test(`it ${name}`, async (t) => {
      await device.sh(make);
      const service = await device.service();
      expectCause(t, await device.examine(), 'run.dir', summary);
      await service.stop();
      // In doubt the device counts as paired.
      await device.sh('rm -rf /run/zeroforce /var/lib/zeroforce');
    });
  }

  await t.test('it is removed while the service runs, which makes it again', async (t) => {
    const service = await device.service();
    await device.sh('rm -r /run/zeroforce');
    const found = await device.examine();
    t.equal(found.report.checks.find(({ id }) => id === 'run.dir')?.status, 'warn');
    await until('the service to be back', () => service.log().includes('the control socket had vanished'));
    expectHealthy(t, await device.examine());
    await service.stop();
  });
});

async function pidOf(device: Machine): Promise<number> {
  const { stdout } = await device.agent(['status', '--json']);
  return (JSON.parse(stdout) as { pid: number }).pid;
}
