/**
 * `make test-pi`: the package on an emulated Raspberry Pi, from the start of its kernel to a paired tunnel, and the same on
 * a machine that is emulated faster. Apart from `make test` for its time: ten minutes. Prints the figures of
 * docs/performance.md.
 */
import t from 'tap';
import defaults from '../../board/rtsp-recorder/config.json' with { type: 'json' };
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
    const config = { ...defaults, meeting, services: { ssh: 22 } };
    await pi.write('/etc/zeroforce/config.json', JSON.stringify(config), 0o600);

    await pi.boot();
    await until('the service to be ready', async () => (await pi.sh(READY)).code === 0, READY_MS);
    const cpuSeconds = pi.cpuSeconds();
    t.equal((await pi.sh('tunnel-agent --version')).stdout, `${pkg.version}\n`);
    await expectPairs(t, pi);
    await expectTunnel(t, proxy);
    process.stderr.write(await figures(machine, pi, cpuSeconds));
    await pi.cut();
  });
}

const READY = 'systemctl is-active zeroforce.service';

/** Rows of the table in docs/performance.md; the times are seconds of the kernel's own clock, which begins with it. */
async function figures(machine: Machine, pi: Pi, cpuSeconds: number): Promise<string> {
  const { stdout } = await pi.sh(`
    systemctl show zeroforce.service -p ExecMainStartTimestampMonotonic -p ActiveEnterTimestampMonotonic -p NRestarts
    systemctl show zeroforce-sshd.service -p ActiveEnterTimestampMonotonic | sed s/^/Sshd/
    cat "/proc/$(systemctl show zeroforce.service -p MainPID --value)/status"
    echo "Kernel=$(uname -r)"; echo "Node=$(node --version)"`);
  const value = (name: string) => new RegExp(`^${name}[=:]\\s*(\\S+)`, 'm').exec(stdout)?.[1] ?? '?';
  const seconds = (name: string) => (Number(value(name)) / 1e6).toFixed(1);
  const mib = (name: string) => (Number(value(name)) / 1024).toFixed(1);
  return [
    ['machine', `${machine}, Linux ${value('Kernel')}, Node ${value('Node')}`],
    ['kernel → the service is started, s', seconds('ExecMainStartTimestampMonotonic')],
    ['kernel → sshd of the paired tunnel, s', seconds('SshdActiveEnterTimestampMonotonic')],
    ['kernel → ready, s', seconds('ActiveEnterTimestampMonotonic')],
    ["the emulator's processor time up to then, s", cpuSeconds.toFixed(0)],
    ['restarts of the service', value('NRestarts')],
    ['RSS MiB', mib('VmRSS')],
    ['anonymous MiB', mib('RssAnon')],
  ]
    .map((cells) => `| ${cells.join(' | ')} |\n`)
    .join('');
}
