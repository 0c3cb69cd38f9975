import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { auditText, pairingText } from '../../src/cli/pairing-text.ts';
import { PLAIN } from '../../src/cli/style.ts';
import { device, isReady, openTunnel, statusOf, temporaryFolder, untilStatus } from '../device/support.ts';
import { type Output, run } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { PROGRAM, type Service, tunnelAgent } from '../support/service.ts';

/** The command as somebody runs it at a terminal; what both streams show, with plain line ends. */
async function atTerminal(args: string[], settings: Record<string, string>, input = ''): Promise<Output> {
  const env = { PATH: process.env.PATH, TERM: 'xterm', ...settings };
  const output = await run('script', ['-qec', [PROGRAM, ...args].join(' '), '/dev/null'], { env, input });
  return { ...output, stdout: output.stdout.replaceAll('\r\n', '\n') };
}

const pairing = (service: Service, ...args: string[]) => tunnelAgent(['pairing', ...args], service.settings);

const PAIRED: Parameters<typeof pairingText>[0] = {
  policy: 'pin',
  open: false,
  pinReady: false,
  reason: 'a tunnel stands',
  opensInSeconds: null,
  openedLocally: null,
  pin: { set: true, failuresLeft: 17, locked: false },
  tunnel: 'active',
  everPaired: true,
  key: { type: 'ssh-ed25519', fingerprint: 'SHA256:abc' },
};

t.test('status says in words what is set and what is open', async (t) => {
  t.equal(
    pairingText(PAIRED, PLAIN),
    `pairing  closed: a tunnel stands
policy   pin
PIN      set; 17 wrong proofs until it is locked
key      ssh-ed25519 SHA256:abc
tunnel   a tunnel stands
history  was paired before
`,
  );
  const text = (change: Partial<typeof PAIRED>) => pairingText({ ...PAIRED, ...change }, PLAIN);
  t.match(text({ pin: { set: true, failuresLeft: 0, locked: true } }), /^PIN {6}locked after too many.*pairing pin$/m);
  t.match(text({ pin: { set: false, failuresLeft: 20, locked: false }, key: null }), /^PIN {6}none\nkey {6}none$/m);
  t.match(text({ pin: null }), /^PIN {6}cannot be read$/m);
  t.match(text({ pinReady: true, opensInSeconds: 0, reason: 'why' }), /^pairing {2}open with the PIN: why$/m);
  t.match(text({ opensInSeconds: 61, reason: 'why' }), /^pairing {2}closed: why; opens in 1 min 1 s$/m);
  t.match(
    text({ open: true, opensInSeconds: 0, openedLocally: { secondsLeft: 90 }, reason: 'why' }),
    /^pairing {2}open: why, for 1 min 30 s more$/m,
  );
});

t.test('the record is a table; nothing in it moves a cursor or forges a line', async (t) => {
  const stamp = { time: '2026-10-01T12:00:00.000Z', bootId: '01234567-89ab', uptimeMs: 3_661_000 };
  t.equal(
    auditText(
      [
        { ...stamp, what: 'key-set', fingerprint: 'SHA256:abc', source: '192.0.2.1' },
        { ...stamp, what: 'reset', source: 'x\n\u001b[2J\u202e' },
      ],
      PLAIN,
    ),
    `BOOT      UP         WHAT     SOURCE                  KEY         CLOCK
01234567  1 h 1 min  key-set  192.0.2.1               SHA256:abc  2026-10-01T12:00:00.000Z
01234567  1 h 1 min  reset    x\\u000a\\u001b[2J\\u202e  -           2026-10-01T12:00:00.000Z
`,
  );
  t.equal(auditText([], PLAIN), 'Nothing is on record.\n');
});

t.test(
  'open: for one key and two minutes, said by status; refused while a tunnel stands',
  requires('netstat'),
  async (t) => {
    const service = await device(t, { ZEROFORCE_PAIRING_POLICY: 'locked' });
    t.equal(await isReady(service), false);
    t.match(await pairing(service, 'open'), {
      code: 0,
      stdout: 'Pairing is open for 120 s, for one key.\n',
      stderr: '',
    });
    t.equal(await isReady(service), true);
    t.match(
      (await pairing(service, 'status')).stdout,
      /^pairing {2}open: .*, for (1 min \d+ s|2 min) more\npolicy {3}locked$/m,
    );
    const asJson = JSON.parse((await pairing(service, 'status', '--json')).stdout);
    t.strictSame(Object.keys(asJson).sort(), Object.keys((await statusOf(service)).pairing).sort());
    await openTunnel(t, service);
    await untilStatus(service, ({ pairing: { tunnel } }) => tunnel === 'active');
    const refused = await pairing(service, 'open');
    t.equal(refused.code, 1);
    t.match(refused.stderr, /a paired tunnel stands\n {2}pairing\.tunnel-stands: End the paired tunnel/);
    t.match((await pairing(service, 'audit')).stdout, /\n\w{8} .* opened {2}local /);
  },
);

t.test('pin: made and printed once, taken from standard input, removed; never kept as it is', async (t) => {
  const service = await device(t, { ZEROFORCE_PAIRING_POLICY: 'pin', LOG_LEVEL: 'trace' });
  const made = await pairing(service, 'pin');
  t.equal(made.code, 0, made.stderr);
  const pin = /^The new PIN is (\d{8})$/m.exec(made.stdout)?.[1] ?? '';
  t.match(pin, /^\d{8}$/);
  t.match((await statusOf(service)).pairing, { pin: { set: true, locked: false }, pinReady: true });
  const stateDir = service.settings.ZEROFORCE_STATE_DIR ?? '';
  t.notMatch(readFileSync(join(stateDir, 'pairing-pin.json'), 'utf8'), pin);

  const given = '493817265501';
  const fromInput = await run(PROGRAM, ['pairing', 'pin', '--stdin'], {
    env: { PATH: process.env.PATH, ...service.settings },
    input: `  ${given} \r\nanything behind it\n`,
  });
  t.match(fromInput, { code: 0, stdout: 'The new PIN was set.\n', stderr: '' });
  for (const input of ['', '12345\n', 'not a pin\n', '1'.repeat(100_000)]) {
    const refused = await run(PROGRAM, ['pairing', 'pin', '--stdin'], {
      env: { PATH: process.env.PATH, ...service.settings },
      input,
    });
    t.equal(refused.code, 1);
    t.match(refused.stderr, /6 to 16 digits/);
  }
  t.match((await statusOf(service)).pairing.pin, { set: true }, 'the old one stays');
  const removed = await pairing(service, 'pin', '--remove');
  t.match(removed, { code: 0, stdout: 'The PIN was removed.\n', stderr: /nobody can pair/ });
  t.match((await statusOf(service)).pairing.pin, { set: false });
  t.strictSame(
    (JSON.parse((await pairing(service, 'audit', '--json')).stdout) as { what: string }[]).map(({ what }) => what),
    ['pin-set', 'pin-set', 'pin-removed'],
  );
  for (const secret of [pin, given]) t.notMatch(service.log(), secret);
});

t.test('a PIN that nobody will be asked for is set, and that is said', async (t) => {
  const service = await device(t);
  const { code, stderr } = await pairing(service, 'pin');
  t.equal(code, 0);
  t.match(stderr, 'The policy is open, so nobody is asked for it; see ZEROFORCE_PAIRING_POLICY');
});

t.test('a reset asks at a terminal: only yes goes on', requires('script'), async (t) => {
  const folder = temporaryFolder(t);
  const keyFile = join(folder, 'ssh', 'authorized_keys');
  const settings = {
    ZEROFORCE_RUN_DIR: join(folder, 'run'),
    ZEROFORCE_STATE_DIR: join(folder, 'state'),
    ZEROFORCE_AUTHORIZED_KEYS_FILE: keyFile,
  };
  mkdirSync(join(folder, 'ssh'));
  mkdirSync(join(folder, 'state'));
  writeFileSync(keyFile, 'the key\n');
  for (const answer of ['no\n', '\n', 'y\n', '\u0004']) {
    const { code, stdout } = await atTerminal(['pairing', 'reset'], settings, answer);
    t.equal(code, 1, JSON.stringify(answer));
    t.match(stdout, /removes the paired key of .*\nType yes to go on: /);
    t.match(stdout, 'Nothing was changed.');
    t.ok(existsSync(keyFile));
  }
  const { code, stdout } = await atTerminal(['pairing', 'reset'], settings, 'yes\n');
  t.equal(code, 0, stdout);
  t.match(stdout, 'Pairing was reset: the key is removed');
  t.notOk(existsSync(keyFile));
});

t.test('where no service runs, each command says so and what to do', async (t) => {
  const settings = { ZEROFORCE_RUN_DIR: join(temporaryFolder(t), 'run') };
  for (const args of [['status'], ['status', '--json'], ['open'], ['pin'], ['pin', '--remove']]) {
    const { code, stdout, stderr } = await tunnelAgent(['pairing', ...args], settings);
    t.equal(code, 1);
    t.equal(stdout, '');
    t.match(stderr, /^tunnel-agent: no service answers at .*\n {2}service\.not-running: Start the service/);
  }
  const empty = await tunnelAgent(['pairing', 'audit'], { ...settings, ZEROFORCE_STATE_DIR: temporaryFolder(t) });
  t.match(empty, { code: 0, stdout: 'Nothing is on record.\n', stderr: '' });
});

t.test('colours at a terminal only, and not where they are refused', requires('script'), async (t) => {
  const { settings } = await device(t);
  const ESCAPE = '\u001b[';
  t.match((await atTerminal(['status'], settings)).stdout, `${ESCAPE}33mopen${ESCAPE}39m`);
  const plain = [
    atTerminal(['status', '--no-color'], settings),
    atTerminal(['status'], { ...settings, NO_COLOR: '1' }),
    atTerminal(['status'], { ...settings, TERM: 'dumb' }),
    atTerminal(['status', '--json'], settings),
    tunnelAgent(['status'], { ...settings, TERM: 'xterm' }),
  ];
  for (const { code, stdout } of await Promise.all(plain)) {
    t.equal(code, 0);
    t.notOk(stdout.includes(ESCAPE));
  }
});

t.test('config check --json: valid, or every fault, with the exit code of the text', async (t: Test) => {
  const folder = temporaryFolder(t);
  const file = join(folder, 'config.json');
  writeFileSync(file, '{"http":{"port":5001}}');
  const good = await tunnelAgent(['config', 'check', '--json', '--config', file]);
  t.equal(good.code, 0, good.stderr);
  t.match(JSON.parse(good.stdout), { valid: true, origin: 'file', file, faults: [] });
  writeFileSync(file, '{"http":{"port":"x","hots":1}}');
  const bad = await tunnelAgent(['config', 'check', '--json', '--config', file]);
  t.equal(bad.code, 78);
  t.equal(bad.stderr, '');
  const { valid, faults } = JSON.parse(bad.stdout) as { valid: boolean; faults: unknown[] };
  t.equal(valid, false);
  t.equal(faults.length, 2);
});

t.test('a PIN is shown however long the changes before it take', async (t) => {
  const netstat = join(temporaryFolder(t), 'netstat');
  writeFileSync(netstat, '#!/bin/sh\nexec sleep 100\n', { mode: 0o755 });
  const service = await device(t, { ZEROFORCE_NETSTAT: netstat });
  // Each waits for the poll under way and for its own, 3 s both, and for the change before it.
  const opened = [pairing(service, 'open'), pairing(service, 'open')];
  const startMs = performance.now();
  const pin = pairing(service, 'pin');
  for (const output of await Promise.all(opened)) t.match(output, { code: 1, stderr: /pairing.tunnel-unknown/ });
  t.ok(performance.now() - startMs > 5_000, 'longer than a question may take');
  t.match(await pin, { code: 0, stdout: /^The new PIN is \d{8}$/m });
});
