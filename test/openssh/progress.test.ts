import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import * as fc from 'fast-check';
import t from 'tap';
import { parseLine } from '../../src/openssh/log-lines.ts';
import { failureAfterUp, failureBeforeUp, overdue, type Progress, START, step } from '../../src/openssh/progress.ts';
import type { Forward } from '../../src/openssh/types.ts';

/** What real programs wrote with our configuration, by the name of the case. */
function transcripts(version: string): Map<string, string[]> {
  const file = resolve(import.meta.dirname, '../../../test/openssh', `openssh-${version}.txt`);
  const [, ...cases] = readFileSync(file, 'utf8').split(/^=== /m);
  return new Map(cases.map((text) => text.split('\n')).map(([name = '', ...lines]) => [name, lines]));
}

const remote = (port: number): Forward => ({ kind: 'remote', target: { host: '127.0.0.1', port } });
const context = {
  host: '127.0.0.1',
  port: 2222,
  identityFile: null,
  forwards: [remote(22), remote(80)],
  expected: 'E',
};
const local: Forward = {
  kind: 'local',
  listen: { host: '127.0.0.1', port: 13240 },
  target: { host: '127.0.0.1', port: 3240 },
};

function follow(lines: string[], forwards: readonly Forward[]): { last: Progress; phases: string[]; events: string[] } {
  let last = START;
  const phases: string[] = [];
  const events: string[] = [];
  for (const line of lines) {
    const event = parseLine(line);
    if (event === null) continue;
    events.push(event.kind);
    const phase = last.phase;
    last = step(last, event, forwards);
    if (last.phase !== phase) phases.push(last.phase);
  }
  return { last, phases, events };
}

const CAME_UP = ['connected', 'greeted', 'authenticated', 'up'];

for (const version of ['9.2', '10.5']) {
  t.test(`what OpenSSH ${version} says`, async (t) => {
    const cases = transcripts(version);
    const linesOf = (name: string) => cases.get(name) ?? t.bailout(`no transcript ${name}`) ?? [];

    t.test('of sessions that stand', async (t) => {
      const up = follow(linesOf('up'), [remote(22), remote(80)]);
      t.strictSame(up.phases, CAME_UP);
      t.equal(up.last.remotePorts.length, 2);
      t.ok(up.last.remotePorts.every((port) => port > 1024));
      t.equal(up.last.trouble, null, 'no line of it is trouble');
      t.match(up.last.hostKey, { type: 'ssh-ed25519', fingerprint: /^SHA256:/ });
      t.not(follow(linesOf('up'), [remote(22), remote(80), remote(81)]).last.phase, 'up', 'one forward is not there');

      t.strictSame(follow(linesOf('first-use'), [remote(22)]).phases, CAME_UP);
      const nearby = follow(linesOf('local'), [local]);
      t.strictSame(nearby.phases, CAME_UP);
      t.strictSame(
        nearby.events.filter((kind) => /stream|target/.test(kind)),
        ['stream-opened', 'target-failed', 'stream-closed', 'stream-closed'],
      );
      t.equal(nearby.last.streams.size, 0);
      const target = follow(linesOf('target'), [remote(1)]);
      t.strictSame(target.phases, CAME_UP);
      t.ok(target.events.includes('target-failed'));
    });

    for (const [name, code, sentence, change = {}] of [
      ['forward-refused', 'ssh.forward-refused', '127.0.0.1:2222 refused remote forward 1 of 2, to 127.0.0.1:22'],
      ['host-key-changed', 'ssh.host-key-changed', /is ssh-ed25519 SHA256:\S+; expected is E$/],
      ['host-key-other-type', 'ssh.host-key-changed', /is ssh-ed25519 SHA256:\S+; expected is E$/],
      ['auth-refused', 'ssh.auth-refused', '127.0.0.1:2222 does not accept the token'],
      ['key-refused', 'ssh.auth-refused', /does not accept the key \(it offers: publickey/, { identityFile: '/id' }],
      ['no-key', 'ssh.identity-unusable', /nowhere.*No such file/, { identityFile: '/id' }],
      ['refused', 'ssh.refused', /: Connection refused$/],
      ['dns', 'ssh.dns', /gateway\.invalid/],
      [
        'local-port',
        'ssh.local-port',
        'ssh cannot listen on port 22500: Address already in use',
        { forwards: [local] },
      ],
      ['silent', 'ssh.silent', /says nothing/],
      ['http', 'ssh.closed', /it said "HTTP\/1\.1 400 Bad Request"$/],
      ['max-startups', 'ssh.closed', /it said "Exceeded MaxStartups"$/],
      ['not-ssh', 'ssh.not-ssh', /speaks no SSH/],
      ['closed', 'ssh.closed', /closed the connection before the session stood/],
      ['disconnected', 'ssh.closed', '127.0.0.1:2222 refused the session: session_replaced'],
    ] as const) {
      t.test(`when no session comes about: ${name}`, async (t) => {
        const { last } = follow(linesOf(name), context.forwards);
        const failure = failureBeforeUp(last, { ...context, ...change }, 'ended');
        t.equal(failure.code, code, failure.message);
        t.match(failure.message, sentence);
      });
    }

    t.test('when a session ends', async (t) => {
      const ended = follow(linesOf('ended'), [remote(22)]);
      t.match(failureAfterUp(ended.last, context, 'ended'), {
        code: 'session.closed',
        message: /closed the connection/,
      });
      const dead = follow(linesOf('peer-dead'), [remote(22)]);
      t.match(failureAfterUp(dead.last, context, 'ended'), { code: 'session.peer-dead', message: /not responding/ });
    });
  });
}

t.test('what other versions and rarer ends say', async (t) => {
  for (const [line, trouble] of [
    ['Unable to negotiate with 1.2.3.4 port 22: no matching host key type found. Their offer: ssh-dss', 'no-common'],
    ['ssh: connect to host gateway.example port 2222: Connection timed out', 'timeout'],
    ['ssh: connect to host gateway.example port 2222: Network is unreachable', 'unreachable'],
    ['ssh: connect to host gateway.example port 2222: No route to host', 'unreachable'],
    ['ssh: connect to host gateway.example port 2222: Connection reset by peer', 'reset'],
    ['kex_exchange_identification: read: Connection reset by peer', 'reset'],
    ['kex_exchange_identification: Connection closed by remote host', 'closed'],
    ['ssh_exchange_identification: Connection closed by remote host', 'closed'],
    ['client_loop: send disconnect: Broken pipe', 'reset'],
    ['Connection reset by 1.2.3.4 port 2222', 'reset'],
    ['Connection closed by 1.2.3.4 port 2222', 'closed'],
    ['Connection to 1.2.3.4 port 2222 timed out', 'peer-dead'],
    ['client_loop: ssh_packet_write_poll: Connection to 1.2.3.4 port 2222: No route to host', 'peer-dead'],
    ['ssh_dispatch_run_fatal: Connection to 1.2.3.4 port 2222: message authentication code incorrect', 'other'],
    ['/run/zeroforce/ssh/config: line 3: Bad configuration option: x', 'other'],
    ['No user exists for uid 4242', 'other'],
  ] as const) {
    t.match(parseLine(line), { kind: 'trouble', trouble, sentence: line }, line);
  }
  t.equal(parseLine('debug1: Authentication succeeded (none).')?.kind, 'authenticated', 'OpenSSH 8.4');
});

t.test('the cause is the first that is known, and not what people are told', async (t) => {
  const failure = (...lines: string[]) => failureBeforeUp(follow(lines, []).last, context, 'ended with exit code 255');
  t.equal(
    failure('What is this', 'kex_exchange_identification: Connection closed by remote host', 'banner exchange: x').code,
    'ssh.closed',
  );
  t.match(failure('No user exists for uid 4242'), { code: 'ssh.failed', message: /No user exists for uid 4242$/ });
  t.match(failure(), { code: 'ssh.failed', message: /it ended with exit code 255$/ });
  const banner = follow(
    ['Connection closed by nobody', 'Authenticated to x', 'debug1: Entering interactive session.'],
    [],
  );
  t.match([banner.last.phase, banner.last.trouble], ['up', null]);
});

t.test('what is overdue is named by how far it came', async (t) => {
  const after = (...lines: string[]) => overdue(follow(lines, [remote(22)]).last, context, 10);
  const connected = ['debug1: Connecting to x [1.2.3.4] port 22.', 'debug1: Connection established.'];
  const greeted = [...connected, 'debug1: Remote protocol version 2.0, remote software version x'];
  t.match(after(), { code: 'ssh.timeout', message: '127.0.0.1:2222 did not accept the connection within 10 s' });
  t.match(after(...connected), { code: 'ssh.silent', message: /said nothing within 10 s/ });
  t.match(after(...connected, 'debug1: kex_exchange_identification: banner line 0: +OK POP3'), {
    code: 'ssh.not-ssh',
    message: /"\+OK POP3"/,
  });
  t.match(after(...greeted), { code: 'ssh.silent', message: /finish the handshake within 10 s/ });
  t.match(after(...greeted, 'Authenticated to x'), {
    code: 'ssh.silent',
    message: /requests for forwards within 10 s/,
  });
});

t.test("a peer's words do not pass for those of ssh", async (t) => {
  const spoken = [
    'debug1: Remote: Allocated port 4000 for remote forward to 127.0.0.1:22',
    'debug1: Remote: Authenticated to x',
    'debug1: kex_exchange_identification: banner line 0: Host key for x has changed and you have requested strict',
    'Received disconnect from 1.2.3.4 port 22:11: Allocated port 4000 for remote forward to x',
  ];
  const { last } = follow(spoken, [remote(22)]);
  t.match(last, { phase: 'connecting', remotePorts: [], hostKeyRefused: false });
  const early = follow(['Allocated port 4000 for remote forward to 127.0.0.1:22', 'Authenticated to x'], [remote(22)]);
  t.strictSame(early.last.remotePorts, [], "a banner before the authentication is the server's, too");
});

t.test('no line is too strange', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: 'binary', maxLength: 700 })), (lines) => {
      const { last } = follow(lines, [remote(22)]);
      return last.phase === 'connecting' && failureBeforeUp(last, context, 'ended').message.length < 2000;
    }),
  );
  const started = performance.now();
  for (const start of [
    'ssh: connect to host ',
    'Timeout, server ',
    'x: Permission denied (',
    'bind [',
    'Connection to ',
  ]) {
    parseLine(start + 'a: '.repeat(300_000));
  }
  t.ok(performance.now() - started < 1_000, 'nor too long');
});

t.test('the transcripts name nothing of the machine that made them', async (t) => {
  for (const version of ['9.2', '10.5']) {
    const file = resolve(import.meta.dirname, '../../../test/openssh', `openssh-${version}.txt`);
    t.notMatch(readFileSync(file, 'utf8'), join('/', 'tmp'));
  }
});
