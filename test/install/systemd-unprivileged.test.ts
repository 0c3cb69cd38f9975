import t from 'tap';
import { requires } from '../support/requires.ts';
import { NEEDS_BOARD } from './board.ts';
import { commandsOf } from './page.ts';
import {
  configuration,
  dropIn,
  eventually,
  exposure,
  noDropIn,
  plugIn,
  property,
  statusOf,
  systemdBoard,
} from './systemd-board.ts';
import { expectPairs, expectTunnel, gatewayFor, maintenanceSshd } from './use.ts';

const PAGE = 'install/services.md';

interface Checks {
  readonly checks: readonly { id: string; status: string; summary: string; remedy: string | null }[];
}

t.test('the service without root', requires(...NEEDS_BOARD), async (t) => {
  const board = await systemdBoard(t);
  await board.boot('systemd');
  await plugIn(board);
  await maintenanceSshd(board);
  const proxy = await gatewayFor(t, board);
  await board.write('/etc/zeroforce/config.json', configuration({ meeting: proxy.meeting }), 0o600);
  await board.must('systemctl reload zeroforce');
  const paired = await expectPairs(t, board);

  /** The checks, made within the sandbox of the unit. */
  const diagnoseInside = async (options: string) => {
    const command = `tunnel-agent diagnose --json ${options} >/run/zeroforce/inside.json`;
    await dropIn(board, 'zeroforce', 'examine', `ExecStartPost=-/bin/sh -c "${command}"`);
    await board.must('systemctl restart zeroforce');
    await noDropIn(board, 'zeroforce', 'examine');
    return JSON.parse(await board.must('cat /run/zeroforce/inside.json')) as Checks;
  };

  await t.test('by the page: whoever is paired stays so', async (t) => {
    for (const block of commandsOf(PAGE, 'Without root')) await board.must(`set -e\n${block}`);
    t.equal(await property(board, 'zeroforce', 'ActiveState'), 'active');
    const pid = await property(board, 'zeroforce', 'MainPID');
    t.match(await board.must(`cat /proc/${pid}/status`), /^Uid:\t([1-9]\d*)\t\1[\s\S]*^CapBnd:\t0000000000000000$/m);
    const found = await exposure(board, 'zeroforce');
    t.comment(`exposure ${found}`);
    t.ok(found <= 1.4, String(found));
    const tunnel = await paired.tunnel();
    t.match(await tunnel.get('/zeroforce/info'), /"version"/);
    await tunnel.close();
    await expectTunnel(t, proxy);
    t.strictSame((await statusOf(board)).faults, []);
  });

  await t.test('what it cannot see for itself is unknown, and root sees it', async (t) => {
    const inside = await diagnoseInside('');
    const outside = JSON.parse((await board.sh('tunnel-agent diagnose --json')).stdout) as Checks;
    t.strictSame(
      inside.checks.filter(({ status }) => status === 'fail').map(({ id, summary }) => [id, summary]),
      [],
    );
    t.strictSame(
      outside.checks.filter(({ status }) => status === 'fail').map(({ id, summary }) => [id, summary]),
      [],
    );
    for (const { id, status, summary } of inside.checks) if (status === 'unknown') t.comment(`${id}: ${summary}`);
    t.match(
      inside.checks.find(({ id }) => id === 'firewall.inbound'),
      { status: 'unknown' },
    );
  });

  await t.test('a server that may run out of its sight is not said to have stopped', async (t) => {
    await board.must('kill $(cat /run/sshd.pid)');
    const inside = await diagnoseInside('--only sshd.running,sshd.listens');
    t.match(
      inside.checks.find(({ id }) => id === 'sshd.running'),
      { status: 'unknown', summary: /are hidden/ },
    );
    t.match(
      inside.checks.find(({ id }) => id === 'sshd.listens'),
      { status: 'fail', summary: /^Nothing listens on port 22/ },
    );
    const outside = JSON.parse((await board.sh('tunnel-agent diagnose --json --only sshd.running')).stdout) as Checks;
    t.match(
      outside.checks.find(({ id }) => id === 'sshd.running'),
      { status: 'fail', remedy: /systemctl start ssh\.service/ },
    );
    await maintenanceSshd(board);
  });

  await t.test('a reset by root ends the session of the old client, which the service cannot', async (t) => {
    const tunnel = await paired.tunnel();
    t.match(await tunnel.get('/zeroforce/info'), /"version"/);
    t.match(await board.must('tunnel-agent pairing reset --yes'), /The tunnel of that key was ended/);
    t.equal(await tunnel.get('/zeroforce/info'), '');
    await expectPairs(t, board);
  });

  await t.test('and back to root, by the page', async (t) => {
    for (const block of commandsOf(PAGE, 'Back to root')) await board.must(`set -e\n${block}`);
    await board.must('tunnel-agent pairing reset --yes');
    await expectPairs(t, board);
    t.match(await board.must('stat -c "%U %a" /root/.ssh/authorized_keys'), 'root 600');
  });

  await t.test('a state folder that cannot be written is a named fault, and its remedy helps', async (t) => {
    await board.must('mkdir -p /srv/zeroforce');
    const elsewhere = configuration({ meeting: proxy.meeting, stateDir: '/srv/zeroforce' });
    await board.write('/etc/zeroforce/config.json', elsewhere, 0o600);
    await board.must('systemctl restart zeroforce');
    t.equal(await property(board, 'zeroforce', 'ActiveState'), 'active', 'it runs all the same');
    const { stdout } = await board.sh('tunnel-agent diagnose --json --only disk.writable');
    const check = (JSON.parse(stdout) as Checks).checks.find(({ id }) => id === 'disk.writable');
    t.match(check, { status: 'fail', summary: /read-only for the service alone/ });
    const [, line = '', edit] = /(BindPaths=\S+): (systemctl edit zeroforce\.service);/.exec(check?.remedy ?? '') ?? [];
    t.ok(edit, check?.remedy ?? 'a remedy');
    await dropIn(board, 'zeroforce', 'remedy', line);
    await board.must('systemctl restart zeroforce && [ -e /srv/zeroforce/config.last-good.json ]');
  });

  await t.test('without systemd-notify the service works, says so, and the page helps', async (t) => {
    await board.must('mv /usr/bin/systemd-notify /usr/bin/away && systemctl --no-block restart zeroforce');
    const told = async () =>
      (await board.sh('journalctl -b -t zeroforce -n 20 -o cat')).stdout.includes('service.not-told');
    await eventually('the service to say so', told);
    t.match(await statusOf(board), { tunnel: { state: 'up' } }, 'it works');
    t.equal(await property(board, 'zeroforce', 'ActiveState'), 'activating', 'and systemd waits');
    for (const block of commandsOf(PAGE, 'Where systemd-notify is missing')) await board.must(`set -e\n${block}`);
    t.equal(await property(board, 'zeroforce', 'ActiveState'), 'active');
  });
});
