import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { ephemeralWarning, exposedPorts, parsePortList, parsePortRange } from '../../src/gateway/ephemeral-range.ts';

const RANGE = { start: 40_000, end: 49_999 };
const EPHEMERAL = { start: 32_768, end: 60_999 };

t.test('reads what the kernel writes, and passes over the rest', async (t) => {
  t.strictSame(parsePortRange('32768\t60999\n'), EPHEMERAL);
  for (const text of ['', '32768', 'a\tb', '1\t2\t3']) t.equal(parsePortRange(text), null, text);
  t.strictSame(parsePortList('\n'), []);
  t.strictSame(parsePortList('1-5,7\n'), [
    { start: 1, end: 5 },
    { start: 7, end: 7 },
  ]);
  t.strictSame(parsePortList('x,3-,-4,5, 6-7 '), [
    { start: 5, end: 5 },
    { start: 6, end: 7 },
  ]);
});

t.test('counts the ports that outgoing connections can take', async (t) => {
  t.equal(exposedPorts(RANGE, EPHEMERAL, []), 10_000);
  t.equal(exposedPorts(RANGE, EPHEMERAL, parsePortList('40000-49999')), 0);
  t.equal(exposedPorts(RANGE, EPHEMERAL, parsePortList('1,39000-44999,45001-60000')), 1);
  t.equal(exposedPorts({ start: 20_000, end: 32_767 }, EPHEMERAL, []), 0);
  t.equal(exposedPorts({ start: 20_000, end: 32_768 }, EPHEMERAL, []), 1);
  t.equal(exposedPorts({ start: 60_999, end: 65_000 }, EPHEMERAL, []), 1);
});

t.test('warns where the range is exposed, and not where the system does not tell', async (t) => {
  const folder = t.testdir({ ip_local_port_range: '32768\t60999\n', ip_local_reserved_ports: '40000-49998\n' });
  const warning = ephemeralWarning(RANGE, folder);
  t.equal(warning?.code, 'gateway.range-ephemeral');
  t.match(warning?.message, /take 1 ports of 40000-49999: .* 32768-60999/);
  writeFileSync(join(folder, 'ip_local_reserved_ports'), '40000-49999\n');
  t.equal(ephemeralWarning(RANGE, folder), null);
  mkdirSync(join(folder, 'nothing'));
  t.equal(ephemeralWarning(RANGE, join(folder, 'nothing')), null);
  t.doesNotThrow(() => ephemeralWarning(RANGE), 'this machine');
});

t.test('the file that we ship reserves the default range', async (t) => {
  const file = readFileSync(new URL('../../../board/gateway/60-zeroforce-gateway.conf', import.meta.url), 'latin1');
  const settings = file.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  t.equal(settings.length, 1);
  const [name, value = ''] = settings[0]?.split(' = ') ?? [];
  t.equal(name, 'net.ipv4.ip_local_reserved_ports');
  t.equal(exposedPorts(RANGE, EPHEMERAL, parsePortList(value)), 0);
});
