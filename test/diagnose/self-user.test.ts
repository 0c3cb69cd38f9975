import t, { type Test } from 'tap';
import type { Report } from '../../src/diagnose/report.ts';
import { run } from '../support/processes.ts';
import { freshKeyLine } from '../support/public-keys.ts';
import { requires } from '../support/requires.ts';
import { PROGRAM } from '../support/service.ts';
import { type Machine, machine, NEEDS_MACHINE } from './machine.ts';

/** What another user than root cannot know; with what is needed to know it. */
const UNKNOWN = [
  'config.valid',
  'disk.writable',
  'service.running',
  'service.version',
  'monitor.fresh',
  'keys.file',
  'pairing.state',
  'http.listening',
  'mdns.visible',
];

t.test('another user than root raises no false alarm', requires(...NEEDS_MACHINE, 'setpriv'), async (t) => {
  const device = await machine(t);
  await device.sshd();
  await device.configure({ meeting: { deviceKey: 'ABC', token: '41e291', proxy: { host: '192.168.77.1' } } });
  await device.write('/root/.ssh/authorized_keys', `${freshKeyLine()}\n`, 0o600);
  await device.service();

  await t.test('what he may not see is unknown, and says what is needed', async (t) => {
    const report = await asTechnician(device);
    for (const id of UNKNOWN) {
      const check = report.checks.find((each) => each.id === id);
      t.equal(check?.status, 'unknown', `${id}: ${check?.summary}`);
      t.match(check?.remedy, 'root', `${id} says what is needed`);
    }
    expectNoAlarm(t, report);
    t.notMatch(JSON.stringify(report), '41e291');
  });

  await t.test('a token file that he may not read', async (t) => {
    const meeting = { deviceKey: 'ABC', tokenFile: '/etc/zeroforce/token', proxy: { host: '192.168.77.1' } };
    await device.write('/etc/zeroforce/config.json', JSON.stringify({ meeting }), 0o644);
    await device.write('/etc/zeroforce/token', '41e291', 0o600);
    const report = await asTechnician(device);
    t.equal(report.checks.find(({ id }) => id === 'config.identity')?.status, 'unknown');
    expectNoAlarm(t, report);
  });

  await t.test('a broken configuration that he may read is a failure for him, too', async (t) => {
    await device.write('/etc/zeroforce/config.json', '{"tunnel": {"port": 70000}}', 0o644);
    const report = await asTechnician(device);
    t.equal(report.cause, 'config.valid');
  });
});

function expectNoAlarm(t: Test, report: Report): void {
  const alarms = report.checks.filter(({ status }) => status === 'fail' || status === 'warn');
  t.strictSame(
    alarms.map(({ id, summary, evidence }) => `${id}: ${summary} (${evidence})`),
    [],
  );
}

async function asTechnician(device: Machine): Promise<Report> {
  const user = ['setpriv', '--reuid=1500', '--regid=1500', '--clear-groups'];
  const [program = '', ...args] = [...device.inside, ...user, PROGRAM, 'diagnose', '--json', '--no-network'];
  const { stdout, stderr } = await run(program, args, { env: { PATH: process.env.PATH, HOME: '/home/technician' } });
  if (!stdout.startsWith('{')) throw new Error(stderr);
  return JSON.parse(stdout) as Report;
}
