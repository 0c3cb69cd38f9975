import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { bundle } from '../../scripts/bundle.ts';
import { requires } from '../support/requires.ts';
import { makeBoard, NEEDS_BOARD } from './board.ts';
import { expectPairs, expectTunnel, gatewayFor, maintenanceSshd } from './use.ts';

t.test('a board is paired, and reached through a gateway', requires(...NEEDS_BOARD), async (t) => {
  const board = await makeBoard(t, 'trixie');
  const built = t.testdir();
  await bundle(join(built, 'tunnel-agent.cjs'));
  await board.put(built, '/usr/lib/zeroforce');
  await board.put('board/package/zeroforce-agent/beamer-ssh-tunnel', '/opt/beamer/beamer-ssh-tunnel');
  await board.boot('systemd');
  await maintenanceSshd(board);
  const proxy = await gatewayFor(t, board);
  await board.write(
    '/etc/zeroforce/config.json',
    JSON.stringify({
      ...(JSON.parse(readFileSync('board/beamer/config.json', 'utf8')) as object),
      meeting: proxy.meeting,
    }),
    0o600,
  );
  await board.must(
    '/usr/sbin/sshd -f /opt/beamer/beamer-ssh-tunnel && systemd-run -q -u zf /usr/lib/zeroforce/tunnel-agent run',
  );
  await expectTunnel(t, proxy);
  await expectPairs(t, board);
});
