import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import { bundle } from '../../scripts/bundle.ts';
import { run } from '../support/processes.ts';
import { until } from '../support/until.ts';
import { type Board, makeBoard } from './board.ts';

const PACKAGE = 'board/package/zeroforce-agent';
const UNITS = ['zeroforce', 'zeroforce-sshd', 'zeroforce-monitor'];

/** The configuration of an RTSP-Recorder that polls every second, and what else is to be different. */
export function configuration(change: Readonly<Record<string, unknown>> = {}): string {
  const shipped = JSON.parse(readFileSync('board/rtsp-recorder/config.json', 'utf8')) as object;
  return JSON.stringify({ ...shipped, monitor: { intervalSeconds: 1 }, ...change });
}

/** As `until`, for what takes seconds: each look is a process or more. */
export function eventually<T>(what: string, probe: () => Promise<T | null | undefined | false>): Promise<T> {
  const patient = async () => {
    const found = await probe();
    if (found === null || found === undefined || found === false) await sleep(300);
    return found;
  };
  return until(what, patient, 60_000);
}

/** A board of trixie, still off, with the shipped files where a package puts them. */
export async function systemdBoard(t: Test): Promise<Board> {
  const board = await makeBoard(t, 'trixie');
  const built = t.testdir();
  await bundle(join(built, 'tunnel-agent.cjs'));
  await board.put(built, '/usr/lib/zeroforce');
  await board.put(`${PACKAGE}/zeroforce-sshd`, '/usr/lib/zeroforce/zeroforce-sshd');
  for (const unit of UNITS) {
    await board.put(`${PACKAGE}/${unit}.service`, `/usr/lib/systemd/system/${unit}.service`);
  }
  await board.put(`${PACKAGE}/zeroforce.tmpfiles`, '/usr/lib/tmpfiles.d/zeroforce.conf');
  await board.put(`${PACKAGE}/zeroforce.sysusers`, '/usr/lib/sysusers.d/zeroforce.conf');
  await board.put(`${PACKAGE}/unprivileged.conf`, '/usr/share/doc/zeroforce/examples/unprivileged.conf');
  const sshd = readFileSync('board/package/zeroforce-agent/beamer-ssh-tunnel', 'utf8');
  await board.write(
    '/etc/zeroforce/sshd_config',
    sshd.replaceAll('/opt/beamer/beamer-ssh-tunnel', '/etc/zeroforce/sshd_config'),
  );
  await board.write('/etc/zeroforce/config.json', configuration(), 0o600);
  await board.must(`
    chmod 755 /usr/lib/zeroforce
    ln -sf ../lib/zeroforce/tunnel-agent /usr/bin/tunnel-agent
    systemd-sysusers
    systemctl --quiet enable zeroforce zeroforce-sshd`);
  return board;
}

/** A network as a device has one at home, which nobody else is in. */
export async function plugIn(board: Board): Promise<void> {
  await board.must(
    'ip link add eth0 type veth peer name cable && ip link set cable up && ip link set eth0 up && ip addr add 192.168.77.2/24 dev eth0',
  );
}

/** Adds settings to a unit until the next boot. Nothing is restarted. */
export async function dropIn(board: Board, unit: string, name: string, settings: string): Promise<void> {
  await board.write(`/run/systemd/system/${unit}.service.d/${name}.conf`, `[Service]\n${settings}\n`);
  await board.must('systemctl daemon-reload');
}

export async function noDropIn(board: Board, unit: string, name: string): Promise<void> {
  await board.must(`rm -f /run/systemd/system/${unit}.service.d/${name}.conf && systemctl daemon-reload`);
}

/** A property of a unit, as systemd says it. */
export async function property(board: Board, unit: string, name: string): Promise<string> {
  return (await board.must(`systemctl show --property ${name} --value ${unit}`)).trim();
}

/** When systemd heard that the service is ready, in ms after the start of its process. */
export async function readyMs(board: Board, unit: string): Promise<number> {
  const at = async (name: string) => Number(await property(board, unit, `${name}TimestampMonotonic`));
  return ((await at('ActiveEnter')) - (await at('ExecMainStart'))) / 1000;
}

/** Waits until another process than `before` is the service, and is ready; gives how long that took. */
export async function backAgain(board: Board, unit: string, before: string): Promise<number> {
  const startMs = performance.now();
  await eventually(`${unit} to be back`, async () => {
    const said = await board.must(`systemctl show --property MainPID,ActiveState ${unit}`);
    return said.includes('ActiveState=active') && !said.includes(`MainPID=${before}\n`);
  });
  return performance.now() - startMs;
}

/** The last lines of a unit's log in the journal, as they were written. */
export function journal(board: Board, match: string): Promise<string> {
  return board.must(`journalctl --sync; journalctl --no-pager --output cat ${match}`);
}

/** `2.3`, of systemd-analyze security. */
export async function exposure(board: Board, unit: string): Promise<number> {
  const said = await board.must(`systemd-analyze security --no-pager ${unit} | tail -n 1`);
  return Number(/(\d+\.\d+)/.exec(said)?.[1]);
}

export interface AgentStatus {
  readonly tunnel: { readonly state: string } | null;
  readonly mdns: { readonly interfaces: readonly { readonly state: string }[] } | null;
  readonly faults: readonly { readonly code: string; readonly sentence: string }[];
  readonly diagnosis: { readonly check: string } | null;
}

/** As `tunnel-agent status --json`, without the start of a Node: it is asked often. */
export async function statusOf(board: Board): Promise<AgentStatus> {
  const socket = board.path('/run/zeroforce/control.sock');
  const { stdout } = await run('curl', ['-sS', '--unix-socket', socket, 'http://localhost/status']);
  return JSON.parse(stdout) as AgentStatus;
}
