import t from 'tap';
import { requires } from '../support/requires.ts';
import { expectCause, expectHealthy, machine, NEEDS_MACHINE } from './machine.ts';
import { wallClock } from './wall-clock.ts';

const IDENTITY = { deviceKey: '3316A52EB08837267BF6BD3E2B2E8DC7', proxy: { host: '192.168.77.1' } };
/** Nothing that this file is about speaks with anybody else. */
const ALONE = ['--no-network'];

t.test('faults of the configuration and of the identity', requires(...NEEDS_MACHINE), async (t) => {
  const device = await machine(t);
  await device.sshd();
  const service = await device.service();

  await t.test('a configuration that is no JSON', async (t) => {
    await device.write('/etc/zeroforce/config.json', '{"tunnel": ');
    expectCause(t, await device.diagnose(ALONE), 'config.valid', /line 1, column 12/);
    await device.sh('rm /etc/zeroforce/config.json');
  });

  await t.test('a wrong variable of the environment', async (t) => {
    const found = await device.examine({ ZEROFORCE_TUNNEL_PORT: '0' });
    expectCause(t, found, 'config.valid', /ZEROFORCE_TUNNEL_PORT = "0"/);
  });

  await t.test('a variable that is no option is a warning, and nothing fails', async (t) => {
    const found = await device.examine({ ZEROFORCE_TUNEL_PORT: '8007' });
    t.ok(found.report.ok);
    t.match(found.check('config.valid'), { status: 'warn', summary: /perhaps ZEROFORCE_TUNNEL_PORT is meant/ });
  });

  await t.test('a token that every user can read is a warning', async (t) => {
    const meeting = { ...IDENTITY, token: '41e291' };
    await device.write('/etc/zeroforce/config.json', JSON.stringify({ meeting }), 0o644);
    const found = await device.examine();
    t.ok(found.report.ok);
    const { status, remedy } = found.check('config.valid');
    t.equal(status, 'warn');
    t.match(remedy, /chmod 600 \/etc\/zeroforce\/config\.json/);
    t.notMatch(JSON.stringify(found.report), '41e291', 'the token is nowhere in the report');
    await device.sh(found.check('config.valid').remedy?.split(': ').at(-1) ?? 'false');
    t.equal((await device.examine()).check('config.valid').status, 'ok', 'the remedy helps');
  });

  await t.test('half an identity', async (t) => {
    await device.configure({ meeting: IDENTITY });
    const found = await device.examine();
    expectCause(t, found, 'config.identity', /meeting\.token = not set/);
    t.equal(found.check('config.valid').status, 'ok');
  });

  await t.test('a token file that is not there, and one that holds no token', async (t) => {
    const meeting = { ...IDENTITY, tokenFile: '/etc/zeroforce/token' };
    await device.configure({ meeting });
    expectCause(t, await device.examine(), 'config.identity', /"\/etc\/zeroforce\/token".*a file that exists/);
    await device.write('/etc/zeroforce/token', '', 0o600);
    expectCause(t, await device.examine(), 'config.identity', /holds a token/);
    await device.write('/etc/zeroforce/token', '41e291\n', 0o600);
    t.equal((await device.examine()).check('config.identity').status, 'ok');
  });

  await t.test('half an identity in the files of older software', async (t) => {
    await device.sh('rm /etc/zeroforce/config.json');
    await device.write('/etc/rpi-cam/meeting.json', '{"device_key": "ABC123", "token_code": "41e291"}');
    const found = await device.examine();
    expectCause(t, found, 'config.identity', /meeting\.proxy\.host is missing/);
    await device.write('/etc/rpi-cam/meeting.json', '{"device_key": "ABC123"}');
    t.match((await device.examine()).check('config.identity'), { status: 'ok', summary: /pairing runs alone/ });
    await device.sh('rm /etc/rpi-cam/meeting.json');
  });

  await t.test('healthy: a device for pairing alone, on purpose and by default', async (t) => {
    expectHealthy(t, await device.examine());
    await device.configure({ transport: 'none' });
    const found = await device.examine();
    expectHealthy(t, found);
    t.match(found.check('config.identity'), { status: 'ok', summary: /the transport is none/ });
  });
  await service.stop();
});

t.test('a service that runs with its last good configuration', requires(...NEEDS_MACHINE), async (t) => {
  const device = await machine(t);
  await device.sshd();
  await device.configure({ http: { port: 5001 } });
  await (await device.service()).stop();
  await device.write('/etc/zeroforce/config.json', '{"http": {"port": "web"}}', 0o600);
  await device.service();
  const found = await device.examine();
  expectCause(t, found, 'config.valid', /http\.port = "web"/);
  t.match(found.check('config.valid').evidence, /the last configuration that worked/);
  t.equal(found.check('http.listening').status, 'ok', 'the service does its work');
});

t.test('the clock', requires(...NEEDS_MACHINE, 'faketime'), async (t) => {
  const device = await machine(t);
  await device.sshd();
  const meeting = { ...IDENTITY, proxy: { ...IDENTITY.proxy, tls: true }, token: '41e291' };
  await device.configure({ meeting });
  const at = await wallClock();
  await device.service(at('1970-01-01 00:02:00'));

  await t.test('in 1970, for the service as well', async (t) => {
    const found = await device.diagnose(ALONE, at('1970-01-01 00:10:00'));
    expectCause(t, found, 'clock.sane', /1970-01-01T00:10:0\dZ.*no certificate is valid/);
    t.match(found.check('clock.sane').remedy, /date -s/);
  });

  await t.test('absurdly far in the future', async (t) => {
    const found = await device.diagnose(ALONE, at('2096-03-01 00:00:00'));
    expectCause(t, found, 'clock.sane', /2096-03-01.*far in the future/);
  });

  await t.test('behind what was written on this device is a warning', async (t) => {
    const found = await device.diagnose(ALONE, at('2026-01-02 00:00:00'));
    t.ok(found.report.ok);
    t.match(found.check('clock.sane'), { status: 'warn', summary: /was changed later/ });
  });

  await t.test('in 1970 on a device that only pairs is a warning', async (t) => {
    await device.configure({});
    const found = await device.diagnose(ALONE, at('1970-01-01 00:10:00'));
    t.ok(found.report.ok);
    t.equal(found.check('clock.sane').status, 'warn');
  });

  await t.test('healthy: the clock is right', async (t) => {
    expectHealthy(t, await device.examine());
  });
});
