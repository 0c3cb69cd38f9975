import { type ChildProcess, spawn } from 'node:child_process';
import type { Test } from 'tap';
import { type Board, makeBoard } from '../install/board.ts';
import { gatewayFor, maintenanceSshd } from '../install/use.ts';
import { endChild, withoutTap } from '../support/processes.ts';
import { until } from '../support/until.ts';
import { deploy, startUnits } from './deployed.ts';
import { installUnits } from './ours.ts';

type Gateway = Awaited<ReturnType<typeof gatewayFor>>;

export const THEIRS = ['meeting-tunnel', 'beamer-monitor', 'beamer-web'];
export const OTHERS = ['beamer-sshd', 'beamer-usb'];

/**
 * A device under systemd with the newer deployed software, connected to a gateway; ours is installed and does not run.
 * `again` starts the gateway once more, with the same device.
 */
export async function deployedDevice(
  t: Test,
): Promise<{ board: Board; gateway: Gateway; again: () => Promise<Gateway> }> {
  const board = await makeBoard(t, 'trixie');
  const kept = t.testdir();
  await installUnits(t, board);
  await board.boot('systemd');
  await maintenanceSshd(board);
  const again = () => gatewayFor(t, board, kept);
  const gateway = await again();
  await deploy(board, { app: 'newer', meeting: gateway.meeting as never, pairedKey: '' });
  await startUnits(board, { app: 'newer' });
  await gateway.online();
  return { board, gateway, again };
}

const STRANGER = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5n7ZC2p0X8yvvYHf2cTn2y3hUuZl1mXHq2zv5q8mRk stranger';

/** Somebody in the network who tries to pair, again and again, on every port that pairing may be on. */
export function stranger(t: Test, board: Board): { stop: () => Promise<string> } {
  const attempt = [5000, 5080].map(
    (port) => `curl -s -m 2 --data-urlencode "key=${STRANGER}" http://127.0.0.1:${port}/zeroforce/setkey; echo;`,
  );
  const [program = '', ...words] = board.inNet;
  const script = ['sh', '-c', `while :; do ${attempt.join(' ')} sleep 0.5; done`];
  const child: ChildProcess = spawn(...withoutTap(program, [...words, ...script]), {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let said = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  t.teardown(() => endChild(child));
  return {
    stop: async () => {
      await endChild(child);
      return said;
    },
  };
}

/** Whether each unit is enabled, then whether each is active. */
export async function states(board: Board, units: readonly string[]): Promise<string[]> {
  const names = units.join(' ');
  const { stdout } = await board.sh(`systemctl is-enabled ${names}; systemctl is-active ${names}`);
  return stdout.trim().split('\n');
}

/** Waits for the end of a migration, or of an undo, that nobody follows; throws where it failed. */
export async function ended(board: Board, phase: 'done' | 'undone' = 'done'): Promise<void> {
  const wanted = `grep -Eq 'phase.:.${phase}"' /var/lib/zeroforce/migration.json`;
  await until('the end of the migration', async () => (await board.sh(wanted)).code === 0, 90_000).catch(
    () => undefined,
  );
  const { code, stdout } = await board.sh('tunnel-agent migrate --status');
  if (code !== 0) throw new Error(`the migration ended badly, or not at all:\n${stdout}`);
}
