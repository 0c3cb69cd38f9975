import t from 'tap';
import { Secret } from '../../src/config/secret.ts';
import { type Check, defineCheck } from '../../src/diagnose/check.ts';
import { DEFAULT_OPTIONS, type Facts, type Probe, type Subject } from '../../src/diagnose/facts.ts';
import { DEADLINE_MS, RUN_DEADLINE_MS, runChecks } from '../../src/diagnose/runner.ts';
import { Failure } from '../../src/support/failures.ts';
import { check, FINDINGS, fails, hangs, outcome, settled, skips, subject } from './support.ts';

interface Going {
  clock: ReturnType<typeof subject>['clock'];
  abort: () => void;
  /** What happened so far: `+id` began, `-id` ended. */
  events: string[];
  report: ReturnType<typeof runChecks>;
}

function begin(checks: readonly Check[], change: Partial<Subject> = {}): Going {
  const about = subject(change);
  const scope = new AbortController();
  const events: string[] = [];
  const report = runChecks({
    ...{ checks, subject: about, device: 'beamer-1', startedAt: '2026-11-21T10:00:00.000Z', signal: scope.signal },
    onProgress: ({ id, ended }) => events.push(`${ended === null ? '+' : '-'}${id}`),
  });
  return { clock: about.clock, abort: () => scope.abort(), events, report };
}

/** Each check in a line: `id status: summary`. */
async function told(going: Going): Promise<string[]> {
  const { checks } = await going.report;
  t.equal(going.clock.pending, 0, 'no timer is left');
  return checks.map(({ id, status, summary }) => `${id} ${status}: ${summary}`);
}

t.test('a run says what, when, how long and about whom', async (t) => {
  const { report } = begin([check('config.valid')]);
  t.strictSame(await report, {
    ok: true,
    version: '1.2.3',
    device: 'beamer-1',
    startedAt: '2026-11-21T10:00:00.000Z',
    durationMs: 0,
    cause: null,
    checks: [
      {
        id: 'config.valid',
        title: 'config.valid works',
        status: 'ok',
        summary: 'fine',
        evidence: 'looked',
        remedy: null,
        dependsOn: [],
        durationMs: 0,
      },
    ],
  });
});

t.test('checks that need nothing of each other run at the same time, and are told in their order', async (t) => {
  const finish = new Map<string, () => void>();
  const waits = (id: 'sshd.users' | 'config.valid') =>
    check(id, {
      run: () => new Promise((resolve) => finish.set(id, () => resolve(outcome('ok')))),
    });
  const going = begin([waits('sshd.users'), waits('config.valid')]);
  await settled();
  t.strictSame([...finish.keys()].sort(), ['config.valid', 'sshd.users'], 'both are under way');
  going.clock.advance(40);
  finish.get('sshd.users')?.();
  await settled();
  going.clock.advance(60);
  finish.get('config.valid')?.();
  const { checks, durationMs } = await going.report;
  t.strictSame(
    checks.map(({ id, durationMs }) => [id, durationMs]),
    [
      ['config.valid', 100],
      ['sshd.users', 40],
    ],
  );
  t.equal(durationMs, 100);
  t.strictSame(going.events, ['+config.valid', '+sshd.users', '-sshd.users', '-config.valid']);
});

t.test('a check begins when all that it depends on have ended', async (t) => {
  const going = begin([
    check('sshd.banner', { dependsOn: ['sshd.listens'] }),
    check('sshd.listens', { dependsOn: ['sshd.running'] }),
    check('sshd.running'),
  ]);
  await going.report;
  t.strictSame(going.events, [
    ...['+sshd.running', '-sshd.running', '+sshd.listens', '-sshd.listens', '+sshd.banner', '-sshd.banner'],
  ]);
});

t.test('whoever depends on a failed check is skipped, however far, and the root is named', async (t) => {
  const never = () => t.fail('it was looked at');
  const going = begin([
    check('sshd.running', { run: fails }),
    check('sshd.listens', { dependsOn: ['sshd.running'], run: never as () => never }),
    check('sshd.banner', { dependsOn: ['sshd.listens'], run: never as () => never }),
  ]);
  t.strictSame(await told(going), [
    'sshd.running fail: broken',
    'sshd.listens skip: not looked at, because sshd.running failed',
    'sshd.banner skip: not looked at, because sshd.running failed',
  ]);
  t.match(await going.report, { ok: false, cause: 'sshd.running' });
});

t.test(
  'whoever depends on a skipped check is skipped; on one that is not known or only warns, looked at',
  async (t) => {
    const going = begin([
      check('sshd.binary', { run: skips }),
      check('sshd.config', { dependsOn: ['sshd.binary'] }),
      check('sshd.users', { dependsOn: ['sshd.config'] }),
      check('keys.file', { run: () => outcome('unknown') }),
      check('keys.permissions', { dependsOn: ['keys.file'] }),
      check('monitor.netstat', { run: () => outcome('warn') }),
      check('monitor.fresh', { dependsOn: ['monitor.netstat'] }),
    ]);
    t.match(await told(going), [
      'sshd.binary skip: nothing there',
      'sshd.config skip: not looked at, because sshd.binary was skipped',
      'sshd.users skip: not looked at, because sshd.binary was skipped',
      /^monitor.netstat warn/,
      'monitor.fresh ok: fine',
      /^keys.file unknown/,
      'keys.permissions ok: fine',
    ]);
    t.match(await going.report, { ok: true, cause: null });
  },
);

t.test('of several that a check depends on, the failed one is the reason', async (t) => {
  const going = begin([
    check('config.identity', { run: skips }),
    check('service.running', { run: fails }),
    check('proxy.session', { dependsOn: ['config.identity', 'service.running'] }),
  ]);
  t.match((await told(going)).at(-1), /because service.running failed/);
});

t.test('a failure that another one explains is told as skipped, with what was found', async (t) => {
  const going = begin([
    check('hosts.access', { run: fails }),
    check('sshd.banner', { explainedBy: ['hosts.access'], run: () => outcome('fail', 'closed') }),
  ]);
  t.strictSame(await told(going), ['hosts.access fail: broken', 'sshd.banner skip: because of hosts.access: closed']);
  const { checks } = await going.report;
  t.match(checks[1], { evidence: 'saw closed', remedy: null, dependsOn: ['hosts.access'] });
});

t.test('nothing is explained by what did not fail, or by what is not part of the run', async (t) => {
  for (const other of [skips, () => outcome('warn'), () => outcome('unknown'), () => outcome('ok')]) {
    const going = begin([
      check('hosts.access', { run: other }),
      check('sshd.banner', { explainedBy: ['hosts.access', 'sshd.penalties'], run: fails }),
    ]);
    t.match((await told(going)).at(-1), 'sshd.banner fail: broken');
  }
});

t.test('what is fine or not known is not explained away', async (t) => {
  for (const status of ['ok', 'warn', 'unknown', 'skip'] as const) {
    const going = begin([
      check('hosts.access', { run: fails }),
      check('sshd.banner', { explainedBy: ['hosts.access'], run: () => outcome(status) }),
    ]);
    t.equal((await told(going)).at(-1), `sshd.banner ${status}: ${status}`);
  }
});

t.test('an explanation reaches through one that is explained itself, and to whoever depends on it', async (t) => {
  const going = begin([
    check('config.valid', { run: fails }),
    check('service.running', { explainedBy: ['config.valid'], run: fails }),
    check('http.listening', { explainedBy: ['service.running'], run: fails }),
    check('pairing.state', { dependsOn: ['service.running'] }),
  ]);
  t.strictSame(await told(going), [
    'config.valid fail: broken',
    'service.running skip: because of config.valid: broken',
    'pairing.state skip: not looked at, because config.valid failed',
    'http.listening skip: because of config.valid: broken',
  ]);
});

t.test('of several failures the first in the order of the ids is the cause', async (t) => {
  const going = begin([check('http.listening', { run: fails }), check('sshd.users', { run: fails })]);
  t.match(await going.report, { ok: false, cause: 'sshd.users' });
});

t.test('a check that is not part of the run says nothing', async (t) => {
  const going = begin([
    check('sshd.banner', { dependsOn: ['sshd.listens'], explainedBy: ['hosts.access'], run: fails }),
  ]);
  t.strictSame(await told(going), ['sshd.banner fail: broken']);
});

t.test('a check that never ends is not known after its deadline; those that depend on it are looked at', async (t) => {
  const going = begin([check('dns.proxy', { run: hangs }), check('proxy.connect', { dependsOn: ['dns.proxy'] })]);
  await settled();
  going.clock.advance(DEADLINE_MS - 1);
  await settled();
  t.strictSame(going.events, ['+dns.proxy']);
  going.clock.advance(1);
  t.strictSame(await told(going), ['dns.proxy unknown: not finished within 6 s', 'proxy.connect ok: fine']);
  const [check0] = (await going.report).checks;
  t.match(check0, { durationMs: DEADLINE_MS, remedy: /--only/ });
});

t.test('a chain of slow checks ends with the run, within 12 s', async (t) => {
  const chain = ['config.valid', 'config.identity', 'dns.proxy', 'proxy.connect', 'proxy.tls'] as const;
  const going = begin(
    chain.map((id, at) => check(id, { dependsOn: chain.slice(Math.max(0, at - 1), at), run: hangs })),
  );
  for (let second = 0; second < RUN_DEADLINE_MS / 1_000; second += 1) {
    await settled();
    going.clock.advance(1_000);
  }
  t.strictSame(await told(going), [
    'config.valid unknown: not finished within 6 s',
    'config.identity unknown: not finished when the run ended',
    'dns.proxy unknown: not begun when the run ended',
    'proxy.connect unknown: not begun when the run ended',
    'proxy.tls unknown: not begun when the run ended',
  ]);
  t.match(await going.report, { ok: true, cause: null, durationMs: RUN_DEADLINE_MS });
});

t.test('the signal of the facts ends what is under way: at the end of the run, or before', async (t) => {
  let seen: AbortSignal | null = null;
  const going = begin([
    check('dns.proxy', {
      run: (facts) => {
        seen = facts.signal;
        return hangs();
      },
    }),
    check('config.valid'),
  ]);
  await settled();
  t.match(seen, { aborted: false });
  going.abort();
  t.strictSame(await told(going), ['config.valid ok: fine', 'dns.proxy unknown: not finished when the run ended']);
  t.match(seen, { aborted: true });

  const keep = (facts: Facts) => {
    seen = facts.signal;
    return outcome('ok');
  };
  await begin([check('config.valid', { run: keep })]).report;
  t.match(seen, { aborted: true });
});

t.test('a run that is aborted before it begins looks at nothing', async (t) => {
  const going = begin([check('config.valid', { run: () => t.fail('it was looked at') as never })]);
  going.abort();
  t.strictSame(await told(going), ['config.valid unknown: not begun when the run ended']);
});

t.test('a check that throws could not look; a failure by name says what to do', async (t) => {
  const raw: Check = {
    ...check('run.dir'),
    run: () => {
      throw new Error('at once');
    },
  };
  const going = begin([
    raw,
    check('config.valid', { run: () => Promise.reject(new Error('later')) }),
    check('keys.file', { run: () => Promise.reject(new Failure('key.unreadable', 'it is a folder')) }),
    check('disk.writable', { run: () => Promise.reject('no error') }),
  ]);
  t.strictSame(await told(going), [
    'config.valid unknown: could not be looked at: later',
    'disk.writable unknown: could not be looked at: no error',
    'run.dir unknown: could not be looked at: at once',
    'keys.file unknown: could not be looked at: it is a folder',
  ]);
  const { checks } = await going.report;
  t.match(checks.at(-1)?.remedy, /authorized keys file/);
  t.equal(checks[0]?.remedy, null);
});

t.test('a finding without a value for its text is a fault of the check, and told', async (t) => {
  const wrong = defineCheck({ id: 'run.dir', title: 'x', findings: FINDINGS, run: (_, say) => say.found('broken') });
  t.match(await told(begin([wrong])), [
    'run.dir unknown: could not be looked at: no value for {why} in: it is broken: {why}',
  ]);
});

t.test('without the network, whatever needs it is left out, and so is what depends on it', async (t) => {
  const going = begin(
    [
      check('config.valid'),
      check('dns.proxy', { network: true, dependsOn: ['config.valid'] }),
      check('proxy.connect', { dependsOn: ['dns.proxy'] }),
    ],
    { options: { ...DEFAULT_OPTIONS, network: false } },
  );
  t.strictSame(await told(going), [
    'config.valid ok: fine',
    'dns.proxy skip: left out by --no-network',
    'proxy.connect skip: not looked at, because dns.proxy was skipped',
  ]);
});

t.test('a probe is asked once a run, whoever asks; its error is told to all of them', async (t) => {
  let asked = 0;
  const probe: Probe<number> = async () => {
    asked += 1;
    return 42;
  };
  const broken: Probe<number> = () => Promise.reject(new Error('no such file'));
  const going = begin([
    check('sshd.running', { run: async (facts) => outcome('ok', String(await facts.get(probe))) }),
    check('sshd.listens', { run: async (facts) => outcome('ok', String(await facts.get(probe))) }),
    check('keys.file', { run: async (facts) => outcome('ok', String(await facts.get(broken))) }),
    check('sshd.keys', { run: async (facts) => outcome('ok', String(await facts.get(broken))) }),
  ]);
  t.strictSame(await told(going), [
    'sshd.running ok: 42',
    'sshd.listens ok: 42',
    'sshd.keys unknown: could not be looked at: no such file',
    'keys.file unknown: could not be looked at: no such file',
  ]);
  t.equal(asked, 1);
});

t.test('no secret of the configuration and no control character comes out, whoever let it in', async (t) => {
  const about = subject({}, { meetingApi: { token: new Secret('hush-hush') } as never });
  const report = await runChecks({
    checks: [
      check('api.device', { run: () => Promise.reject(new Error('refused \u001b[31mhush-hush\u001b[0m')) }),
      check('api.services', {
        run: () => ({
          status: 'fail',
          summary: 'a\nb',
          evidence: 'X-Token: hush-hush\r\nb\u0007',
          remedy: 'c hush-hush',
        }),
      }),
    ],
    ...{ subject: about, device: 'x', startedAt: 'now', signal: new AbortController().signal },
  });
  t.match(report.checks, [
    { summary: 'could not be looked at: refused [secret]' },
    { summary: 'a b', evidence: 'X-Token: [secret]\nb', remedy: 'c [secret]' },
  ]);
});
