import { resolve } from 'node:path';
import type { Test } from 'tap';
import { requestControl } from '../../src/control/client.ts';
import type { DeviceStatus } from '../../src/device.ts';
import { installed } from '../bundle/support.ts';
import { until } from '../support/until.ts';
import { type Board, makeBoard } from './board.ts';

const ROOT = resolve(import.meta.dirname, '../../..');
const PACKAGE = resolve(ROOT, 'board/package/zeroforce-agent');
export const SUPERVISE = '/usr/lib/zeroforce/zeroforce-supervise';

export type SmallInit = 'busybox' | 'openrc';
export type ServiceName = 'zeroforce' | 'zeroforce-sshd' | 'zeroforce-monitor';
export type Verb = 'start' | 'stop' | 'restart' | 'reload' | 'status';

/** What a person types (docs/install/services.md). */
export const command = (init: SmallInit, service: ServiceName, verb: Verb) =>
  init === 'busybox' ? `/etc/init.d/S7?${service} ${verb}` : `rc-service ${service} ${verb}`;

/**
 * A Beamer that is off: the program, the shipped init files of the service and of the dedicated sshd, which start at
 * boot, and of the monitor, which does not; Node, and a configuration.
 */
export async function smallBoard(t: Test, init: SmallInit): Promise<Board> {
  const board = await makeBoard(t, 'bookworm');
  const { folder } = await installed(t);
  await board.put(folder, '/usr/lib/zeroforce');
  for (const name of ['zeroforce-supervise', 'zeroforce-sshd']) {
    await board.put(resolve(PACKAGE, name), `/usr/lib/zeroforce/${name}`);
  }
  await board.put(process.execPath, '/usr/bin/node');
  await board.put(resolve(PACKAGE, 'beamer-ssh-tunnel'), '/opt/beamer/beamer-ssh-tunnel');
  await board.put(resolve(ROOT, 'board/beamer/config.json'), '/etc/zeroforce/config.json');
  const scripts =
    init === 'busybox'
      ? ['S70zeroforce', 'S71zeroforce-sshd', 'S72zeroforce-monitor']
      : ['zeroforce', 'zeroforce-sshd', 'zeroforce-monitor'];
  for (const script of scripts) {
    const name = init === 'busybox' ? script : `${script}.openrc`;
    await board.put(resolve(PACKAGE, name), `/etc/init.d/${script}`);
  }
  await board.must(`
    chmod 755 /etc/init.d/${scripts.join(' /etc/init.d/')}
    chmod 600 /etc/zeroforce/config.json
    ln -s ../lib/zeroforce/tunnel-agent /usr/bin/tunnel-agent`);
  return board;
}

/** The status of the service, without the time that a process takes; null where none answers. */
export async function statusOf(board: Board): Promise<DeviceStatus | null> {
  return requestControl(board.path('/run/zeroforce'), 'GET /status').catch(() => null) as Promise<DeviceStatus | null>;
}

/** Waits for a service that is not process `before`, and gives its process. */
export async function untilReady(board: Board, before = 0): Promise<number> {
  return until('a service that answers', async () => {
    const status = await statusOf(board);
    return status !== null && status.pid !== before && status.pid;
  });
}

/** The process in a file of /run: the supervisor of NAME.pid, the program of NAME.child. */
export async function untilProcess(board: Board, file: string): Promise<number> {
  return until(`a process in ${file}`, async () => Number.parseInt((await board.sh(`cat /run/${file}`)).stdout, 10));
}

export const syslog = (board: Board) => board.must('cat /var/log/messages');
