import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { descendants, freePort } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import {
  failureOf,
  GATEWAY_NEEDS,
  remote,
  sshOptions,
  startGateway,
  startRun,
  TOKEN,
  temporaryFolder,
} from '../support/ssh-gateway.ts';
import { makeKey, startSshd } from '../support/sshd.ts';
import { startService } from '../support/tcp-services.ts';
import { testLog } from '../support/test-log.ts';
import { until } from '../support/until.ts';

const needs = requires(...GATEWAY_NEEDS);

/** The first that comes out of a port. */
async function readFrom(port: number): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  try {
    const [data] = (await once(socket, 'data')) as [Buffer];
    return data.toString();
  } finally {
    socket.destroy();
  }
}

/** A service that says its name to whoever connects. */
async function named(t: Test, name: string) {
  const service = await startService((socket) => {
    socket.write(name);
    socket.on('end', () => socket.end()).resume();
  });
  t.teardown(() => service.close());
  return service;
}

t.test('through many forwards the gateway reaches each service, and each knows its port', needs, async (t) => {
  const gateway = await startGateway(t);
  const services = await Promise.all(Array.from({ length: 64 }, (_, index) => named(t, `service ${index}`)));
  const options = { ...(await sshOptions(t, gateway)), forwards: services.map(({ port }) => remote(port)) };
  const run = startRun(t, options);
  const { forwards, streams } = await run.up;
  t.equal(new Set(forwards.map(({ port }) => port)).size, 64);
  t.strictSame(
    forwards.map(({ forward }) => forward.target.port),
    services.map(({ port }) => port),
  );
  for (const [index, { port }] of forwards.entries()) {
    t.equal(await readFrom(port), `service ${index}`);
  }
  await until('the streams to be counted off', () => streams() === 0);
  const open = connect(forwards[0]?.port ?? 0, '127.0.0.1');
  t.teardown(() => open.destroy());
  await until('one to be counted', () => streams() === 1);
  t.match(await run.stop(), { failure: null, reason: null });
});

t.test(
  'local forwards: a key, a path with blanks and percent signs, and what is behind the server',
  needs,
  async (t) => {
    const folder = join(await temporaryFolder(t), '100% blank');
    await mkdir(folder, { mode: 0o700 });
    const key = await makeKey(join(folder, 'id'), 'client');
    await writeFile(join(folder, 'authorized_keys'), `${key.publicKey}\n`);
    const sshd = await startSshd(
      join(await temporaryFolder(t), 'sshd'),
      `AuthorizedKeysFile "${folder.replaceAll('%', '%%')}/authorized_keys"\nUsePAM no\nPermitRootLogin yes`,
    );
    t.teardown(() => sshd.stop());
    const service = await named(t, 'near');
    const [near, dead, nobody] = [await freePort(), await freePort(), await freePort()];
    const local = (port: number, target: number) =>
      ({ kind: 'local', listen: { host: '127.0.0.1', port }, target: { host: '127.0.0.1', port: target } }) as const;
    const options = {
      ...(await sshOptions(t, { port: sshd.port, hostKey: sshd.knownHosts.replace(/^\S+ /, '') })),
      user: sshd.user,
      identityFile: key.path,
      folder: join(folder, 'run'),
      forwards: [local(near, service.port), local(dead, nobody)],
    };

    const run = startRun(t, options);
    const { forwards } = await run.up;
    t.strictSame(
      forwards.map(({ port }) => port),
      [near, dead],
    );
    t.equal(await readFrom(near), 'near');
    const broken = connect(dead, '127.0.0.1').on('error', () => undefined);
    await once(broken, 'close');
    await until('the note', () => run.notes.length > 0);
    t.match(run.notes, [['ssh.target-failed', /^open failed: connect failed: Connection refused$/]]);

    const other = await makeKey(join(folder, 'other'), '');
    for (const [identityFile, code, message] of [
      [other.path, 'ssh.auth-refused', /does not accept the key \(it offers: publickey.*\)$/],
      [`${folder}/nowhere`, 'ssh.identity-unusable', /No such file/],
      [
        `${folder}/authorized_keys`,
        'ssh.identity-unusable',
        /UNPROTECTED|bad permissions|invalid format|error in libcrypto/,
      ],
    ] as const) {
      const failure = await failureOf(t, { ...options, folder: join(folder, 'second'), identityFile });
      t.match(failure, { code, message });
    }
    const second = await failureOf(t, { ...options, folder: join(folder, 'second') });
    t.equal(second.code, 'ssh.local-port');
    t.equal(second.message, `ssh cannot listen on port ${near}: Address already in use`);
    await run.stop();
  },
);

t.test('up is said only when ssh has said that every forward stands', needs, async (t) => {
  const allowed = await freePort();
  for (const [what, config, message] of [
    ['no forwarding at all', 'AllowTcpForwarding no', /refused remote forward 1 of 2, to 127\.0\.0\.1:22$/],
    ['no port to listen on', 'PermitListen none', /refused remote forward 1 of 2, to 127\.0\.0\.1:22$/],
    ['local forwarding only', 'AllowTcpForwarding local', /refused remote forward 1 of 2/],
  ] as const) {
    const gateway = await startGateway(t, { config });
    const options = { ...(await sshOptions(t, gateway)), forwards: [remote(22), remote(allowed)] };
    let cameUp = false;
    const run = startRun(t, options);
    run.up.then(
      () => {
        cameUp = true;
      },
      () => undefined,
    );
    const failure = await run.end.catch((error: unknown) => error);
    t.match(failure, { code: 'ssh.forward-refused', message }, what);
    t.equal(cameUp, false, what);
  }
});

t.test('a gateway that is not let in, not there, or no gateway', needs, async (t) => {
  const gateway = await startGateway(t);
  const options = await sshOptions(t, gateway);
  for (const [what, change, code, message] of [
    ['a wrong token', { user: 'WRONGTOKEN' }, 'ssh.auth-refused', /does not accept the token$/],
    ['nobody there', { port: await freePort() }, 'ssh.refused', /Connection refused$/],
    ['no such name', { host: 'gateway.invalid' }, 'ssh.dns', /gateway\.invalid/],
    ['no such program', { program: '/nowhere/ssh' }, 'ssh.missing', /\/nowhere\/ssh is not installed/],
    ['no program', { program: '/etc/passwd' }, 'ssh.failed', /could not be run: EACCES/],
    ['a program that fails', { program: '/bin/false' }, 'ssh.failed', /ended with exit code 1/],
    ['a folder that cannot be', { folder: '/dev/null/ssh' }, 'ssh.folder-unusable', /\/dev\/null/],
  ] as const) {
    const failure = await failureOf(t, { ...options, ...change });
    t.equal(failure.code, code, `${what}: ${failure.message}`);
    t.match(failure.message, message, what);
    t.notMatch(failure.message, /WRONGTOKEN|MZXW/, what);
  }
});

/** A server of raw TCP, for what no SSH server does. */
async function rawServer(t: Test, serve: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => undefined));
    serve(socket);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as { port: number }).port;
}

t.test('a server that says nothing, nonsense, or too little', requires('ssh'), async (t) => {
  const key = `ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI${'A'.repeat(43)}`;
  for (const [what, serve, code, message] of [
    ['says nothing', () => undefined, 'ssh.silent', /said nothing within 1 s|says nothing/],
    [
      'stops after its greeting',
      (socket: Socket) => socket.write('SSH-2.0-x\r\n'),
      'ssh.silent',
      /finish the handshake/,
    ],
    ['speaks HTTP', (socket: Socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'), 'ssh.closed', /HTTP\/1\.1 400/],
    ['is another version', (socket: Socket) => socket.write('SSH-1.5-x\r\n'), 'ssh.not-ssh', /versions differ/],
    ['sends zeros', (socket: Socket) => socket.write(Buffer.alloc(64)), 'ssh.not-ssh', /invalid characters/],
    ['talks without an end', (socket: Socket) => socket.write('x'.repeat(100_000)), 'ssh.not-ssh', /too long/],
    ['closes at once', (socket: Socket) => socket.end(), 'ssh.closed', /closed the connection/],
    [
      'resets',
      (socket: Socket) => socket.resetAndDestroy(),
      'ssh.closed',
      /broke the connection|closed the connection/,
    ],
    [
      'gives a reason',
      (socket: Socket) => socket.end('Exceeded MaxStartups\r\n'),
      'ssh.closed',
      /"Exceeded MaxStartups"/,
    ],
    ['repeats the token', (socket: Socket) => socket.end(`${TOKEN}\r\n`), 'ssh.closed', /"\[secret\]"/],
    [
      'sends rubbish for a handshake',
      (socket: Socket) => socket.write(`SSH-2.0-x\r\n${'\xff'.repeat(2000)}`),
      'ssh.failed',
      /Bad packet length|message authentication code|padding/i,
    ],
  ] as const) {
    const port = await rawServer(t, serve);
    const options = { ...(await sshOptions(t, { port, hostKey: key })), connectTimeoutMs: 1_000 };
    const startMs = performance.now();
    const failure = await failureOf(t, options);
    t.equal(failure.code, code, `${what}: ${failure.message}`);
    t.match(failure.message, message, what);
    t.ok(performance.now() - startMs < 10_000, what);
    t.strictSame(readdirSync(options.folder), [], what);
  }
});

t.test('the host key', needs, async (t) => {
  const gateway = await startGateway(t);
  const options = { ...(await sshOptions(t, gateway)), forwards: [remote(22)] };
  const stored = join(await temporaryFolder(t), 'state', 'host-key');
  const firstUse = { ...options, hostKeys: { kind: 'first-use', knownHostsFile: stored } } as const;
  const pinnedBefore = gateway.hostKey;

  const run = startRun(t, firstUse);
  await run.up;
  t.equal(readFileSync(stored, 'utf8'), `${gateway.hostKey}\n`, 'is stored at first use, before the session is up');
  t.equal(statSync(stored).mode & 0o777, 0o600);
  await run.stop();
  const again = startRun(t, firstUse);
  await again.up;
  await again.stop();

  await gateway.stop();
  await gateway.start({ hostKey: 'new' });
  const accepted = () => gateway.log().split('Accepted none').length;
  const before = accepted();
  for (const [how, hostKeys] of [
    ['stored', firstUse.hostKeys],
    ['pinned', { kind: 'pinned', key: `${pinnedBefore} a comment` }],
  ] as const) {
    const failure = await failureOf(t, { ...options, hostKeys });
    t.equal(failure.code, 'ssh.host-key-changed', how);
    t.match(failure.message, /is ssh-ed25519 SHA256:\S{43}; expected is ssh-ed25519 SHA256:\S{43}$/, how);
    const [, offered, expected] = /is ssh-ed25519 (\S+); expected is ssh-ed25519 (\S+)$/.exec(failure.message) ?? [];
    t.not(offered, expected);
  }
  t.equal(accepted(), before, 'the token never went to the stranger');
  t.equal(readFileSync(stored, 'utf8'), `${pinnedBefore}\n`, 'and the stored key is what it was');

  for (const [what, content] of [
    ['empty', ''],
    ['cut', pinnedBefore.slice(0, -8)],
    ['of another type than it says', pinnedBefore.replace('ssh-ed25519', 'ssh-rsa')],
    ['two lines', `${pinnedBefore}\n${gateway.hostKey}\n`],
  ] as const) {
    await writeFile(stored, content);
    const failure = await failureOf(t, firstUse);
    t.equal(failure.code, 'ssh.host-key-unreadable', `a stored key that is ${what} is not taken for none`);
  }
  await rm(stored);
  await mkdir(stored);
  t.equal((await failureOf(t, firstUse)).code, 'ssh.host-key-unreadable', 'nor is a folder in its place');

  const nowhere = { ...firstUse, hostKeys: { kind: 'first-use', knownHostsFile: '/proc/nowhere/key' } } as const;
  const unwritable = startRun(t, nowhere);
  await unwritable.up;
  t.match(unwritable.notes, [['state.unwritable', /could not be stored in \/proc\/nowhere\/key/]], 'but it stands');
  await unwritable.stop();
  await gateway.stop();
  await gateway.start({ hostKey: 'new' });
  t.equal((await failureOf(t, nowhere)).code, 'ssh.host-key-changed', 'and the key is demanded all the same');
  await rm(stored, { recursive: true });
  await rm(join(options.folder, 'first-key'));
  const fresh = startRun(t, firstUse);
  await fresh.up;
  await fresh.stop();
  t.equal(readFileSync(stored, 'utf8'), `${gateway.hostKey}\n`, 'a file that is removed is one of the next first use');
  t.strictSame(readdirSync(options.folder), []);
});

t.test(
  'the token is in no argument, environment and line, and its file is gone once the session stands',
  needs,
  async (t) => {
    const gateway = await startGateway(t);
    const logged = testLog();
    process.env.ZEROFORCE_SSH_TOKEN = TOKEN;
    t.teardown(() => {
      delete process.env.ZEROFORCE_SSH_TOKEN;
    });
    const options = { ...(await sshOptions(t, gateway)), forwards: [remote(22)], log: logged.log };
    await mkdir(options.folder, { mode: 0o755 });
    let seenWhileConnecting = false;
    const mode = () => statSync(join(options.folder, 'config')).mode & 0o777;
    const run = startRun(t, {
      ...options,
      log: Object.assign(Object.create(logged.log) as typeof logged.log, {
        trace: (facts: object) => {
          logged.log.trace(facts);
          if (existsSync(join(options.folder, 'config'))) seenWhileConnecting ||= mode() === 0o600;
        },
      }),
    });
    await run.up;
    t.ok(seenWhileConnecting, 'while ssh connects the file is there, for its owner alone');
    t.equal(statSync(options.folder).mode & 0o777, 0o700, 'in a folder for its owner alone');
    t.strictSame(readdirSync(options.folder), []);

    const pids = descendants(process.pid).filter((pid) =>
      readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(options.folder),
    );
    t.equal(pids.length, 1);
    for (const pid of pids) {
      t.notMatch(readFileSync(`/proc/${pid}/cmdline`, 'latin1'), TOKEN);
      t.notMatch(readFileSync(`/proc/${pid}/environ`, 'latin1'), TOKEN);
    }
    await gateway.stop('SIGKILL');
    const { failure } = await run.end;
    t.equal(failure?.code, 'session.closed');
    t.ok(logged.has(/\[secret\]/), 'ssh does say the name of its user');
    t.notOk(logged.has(new RegExp(TOKEN)), 'and here it is masked');
  },
);

t.test('stop, in every state: nothing is left', requires('ssh', ...GATEWAY_NEEDS), async (t) => {
  const gateway = await startGateway(t);
  const options = { ...(await sshOptions(t, gateway)), forwards: [remote(22)] };
  const left = () => descendants(process.pid).filter((pid) => commandLine(pid).includes(options.folder));

  t.test('before it begins', async (t) => {
    const run = startRun(t, options);
    t.match(await run.stop(), { heldMs: 0, failure: null });
    t.strictSame([left(), readdirSync(options.folder)], [[], []]);
  });
  t.test('while it connects', async (t) => {
    const port = await rawServer(t, () => undefined);
    const run = startRun(t, { ...options, port });
    await until('ssh', () => left().length > 0);
    t.match(await run.stop(), { heldMs: 0, failure: null });
    t.strictSame([left(), readdirSync(options.folder)], [[], []]);
  });
  t.test('when it is up', async (t) => {
    const run = startRun(t, options);
    await run.up;
    const startMs = performance.now();
    t.match(await run.stop(), { failure: null });
    t.ok(performance.now() - startMs < 1_400, 'in order, at SIGTERM');
    t.strictSame([left(), readdirSync(options.folder)], [[], []]);
  });
  t.test('when ssh does not listen to SIGTERM, nor what it has started', async (t) => {
    const program = join(await temporaryFolder(t), 'ssh');
    await writeFile(
      program,
      `#!/bin/sh\ntrap '' TERM\nsh -c "trap '' TERM; sleep 60; : ${options.folder}" &\nwait\nsleep 60\n`,
    );
    await chmod(program, 0o755);
    const run = startRun(t, { ...options, program });
    await until('it to stand', () => left().length > 1);
    const startMs = performance.now();
    await run.stop();
    const tookMs = performance.now() - startMs;
    t.ok(tookMs > 1_400 && tookMs < 2_500, `at SIGKILL, after ${Math.round(tookMs)} ms`);
    await until('all to be gone', () => left().length === 0);
  });
});

t.test('what a peer makes ssh say moves no cursor', async (t) => {
  const folder = await temporaryFolder(t);
  const program = join(folder, 'ssh');
  await writeFile(program, "#!/bin/sh\nprintf 'before\\rsome\\033[2Jwords\\n' >&2\nexit 255\n", { mode: 0o755 });
  const { publicKey: hostKey } = await makeKey(join(folder, 'key'), 'gateway');
  const options = await sshOptions(t, { port: 1, hostKey });
  const { message } = await failureOf(t, { ...options, program });
  t.equal(message, '127.0.0.1:1 was not reached, ssh says: before some [2Jwords');
});

t.test('an ssh that was killed from outside, and one that a killed process left behind', needs, async (t) => {
  const gateway = await startGateway(t);
  const options = { ...(await sshOptions(t, gateway)), forwards: [remote(22)] };
  const first = startRun(t, options);
  await first.up;
  const second = startRun(t, options);
  await second.up;
  const { failure } = await first.end;
  t.match(failure, { code: 'session.closed', message: /ssh was ended by SIGKILL/ }, 'the newer run ended the older');
  const pids = descendants(process.pid).filter((pid) => commandLine(pid).includes(options.folder));
  t.equal(pids.length, 1);
  await second.stop();
});

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1');
  } catch {
    return ''; // ended meanwhile
  }
}
