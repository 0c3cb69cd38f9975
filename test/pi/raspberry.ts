/**
 * `make test-pi`: the package on an emulated Raspberry Pi, from the start of its kernel to a paired tunnel, and the same on
 * a machine that is emulated faster. Apart from `make test` for its time: ten minutes. Prints the figures of
 * docs/performance.md.
 */
import t from 'tap';
import pkg from '../../package.json' with { type: 'json' };
import { agentDeb } from '../../scripts/deb.ts';
import { temporaryFolder } from '../device/support.ts';
import { expectPairs, expectTunnel, gatewayFor } from '../install/use.ts';
import { requires } from '../support/requires.ts';
import { until } from '../support/until.ts';
import { HOST, type Machine, makePi, type Pi } from './pi.ts';

const NEEDS = [
  'root',
  'namespaces',
  'nsenter',
  'qemu-system-aarch64',
  'qemu-aarch64-static',
  'mmdebstrap',
  'arch-test',
  'mke2fs',
  'ssh',
  'curl',
  'netstat',
];
const READY_MS = 5 * 60_000;
const MACHINES: readonly Machine[] = ['virt', 'raspi3b'];
const wanted = process.env.ZEROFORCE_PI;

for (const machine of MACHINES.filter((name) => wanted === undefined || wanted === name)) {
  t.test(`${machine} boots to a paired tunnel`, { timeout: 30 * 60_000, ...requires(...NEEDS) }, async (t) => {
    const deb = await agentDeb({ outFolder: temporaryFolder(t), compression: 'none' });
    const pi = await makePi(t, machine, deb);
    const proxy = await gatewayFor(t, pi);
    const meeting = { ...proxy.meeting, proxy: { ...(proxy.meeting.proxy as object), host: HOST } };
    const config = { transport: 'meeting', meeting, services: { ssh: 22 } };
    await pi.write('/etc/zeroforce/config.json', JSON.stringify(config), 0o600);

    await pi.boot();
    await until('the service to be ready', async () => (await pi.sh(READY)).code === 0, READY_MS);
    t.equal((await pi.sh('tunnel-agent --version')).stdout, `${pkg.version}\n`);
    await expectPairs(t, pi);
    await expectTunnel(t, proxy);
    t.comment(await figures(pi));
    await pi.cut();
  });
}

const READY = 'systemctl is-active zeroforce.service';

/** A row of the table in docs/performance.md. */
async function figures(pi: Pi): Promise<string> {
  const { stdout } = await pi.sh(`
    journalctl -b -o json -u zeroforce.service --output-fields=__MONOTONIC_TIMESTAMP,MESSAGE
    systemctl show zeroforce.service -p ExecMainPID -p ExecMainStartTimestampMonotonic -p ActiveEnterTimestampMonotonic -p MemoryCurrent
    cat /proc/$(systemctl show zeroforce.service -p MainPID --value)/status
    systemd-analyze time
    uname -r; node --version`);
  return stdout;
}
