import t from 'tap';
import { OPTION_KEYS, type OptionKey, optionOf, type Values } from '../../src/config/options.ts';
import { planReload } from '../../src/config/reload.ts';

const DEFAULTS = Object.fromEntries(OPTION_KEYS.map((key) => [key, optionOf(key).default])) as Values;
const withValues = (values: Partial<Values>): Values => ({ ...DEFAULTS, ...values });

t.test('nothing has changed: there is nothing to do', async (t) => {
  t.match(planReload(DEFAULTS, withValues({}), false), { applied: [], whenIdle: [], atRestart: [] });
});

t.test('each option is applied at its own time, and no other changes', async (t) => {
  const next = withValues({
    'pairing.timeoutSeconds': 60,
    'meeting.proxy.host': 'other.example',
    stateDir: '/var/lib/other',
    services: { ssh: 2022 },
  });
  const busy = planReload(DEFAULTS, next, false);
  t.strictSame(busy.applied, ['pairing.timeoutSeconds', 'services']);
  t.strictSame(busy.whenIdle, ['meeting.proxy.host']);
  t.strictSame(busy.atRestart, ['stateDir']);
  t.strictSame(busy.values, withValues({ 'pairing.timeoutSeconds': 60, services: { ssh: 2022 } }));
  t.match(busy.config, { pairing: { timeoutMs: 60_000 }, services: { ssh: 2022 }, stateDir: '/var/lib/zeroforce' });

  const idle = planReload(busy.values, next, true);
  t.strictSame(idle.applied, ['meeting.proxy.host'], 'what had to wait is still known as a change');
  t.strictSame(idle.whenIdle, []);
  t.strictSame(idle.atRestart, ['stateDir']);
});

t.test('another order of the forwards is a change: they are asked for in that order', async (t) => {
  const running = withValues({ 'ssh.forwards': { ssh: 22, http: 80 } });
  const next = withValues({ 'ssh.forwards': { http: 80, ssh: 22 } });
  t.strictSame(planReload(running, next, true).applied, ['ssh.forwards']);
});

t.test('the pairing routes never move to a port that the running session still forwards', async (t) => {
  const ssh = { transport: 'ssh', 'ssh.token': 'T', 'ssh.host': 'gateway', 'ssh.trustFirst': true } as const;
  const running = withValues({ ...ssh, 'ssh.forwards': { ssh: 22, web: 5001 } });
  const next = withValues({ ...ssh, 'ssh.forwards': { ssh: 22 }, 'http.port': 5001, logLevel: 'debug' });
  const busy = planReload(running, next, false);
  t.strictSame(busy.values, running);
  t.strictSame(busy.applied, []);
  t.strictSame(busy.whenIdle, ['logLevel', 'http.port', 'ssh.forwards']);
  const idle = planReload(running, next, true);
  t.strictSame(idle.values, next);
});

t.test('what names the other side waits for a moment without streams', async (t) => {
  const waiting: OptionKey[] = OPTION_KEYS.filter((key) => optionOf(key).applies === 'when idle');
  for (const key of OPTION_KEYS.filter((key) => /^(ssh|meeting\.(?!api))/.test(key) || key === 'transport')) {
    t.ok(waiting.includes(key), key);
  }
});
