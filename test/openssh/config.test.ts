import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { HOST_KEY_ALIAS, type RenderOptions, renderConfig } from '../../src/openssh/config.ts';
import { run } from '../support/processes.ts';
import { requires } from '../support/requires.ts';

const OPTIONS: RenderOptions = {
  host: 'gateway.example',
  port: 2222,
  user: 'TOKEN',
  identityFile: null,
  knownHosts: '/run/zeroforce/ssh/known_hosts',
  acceptNew: false,
  forwards: [
    { kind: 'remote', target: { host: '127.0.0.1', port: 22 } },
    { kind: 'local', listen: { host: '::1', port: 13240 }, target: { host: 'localhost', port: 3240 } },
  ],
  connectTimeoutMs: 10_000,
};

t.test('ssh itself understands it as it is meant', requires('ssh'), async (t) => {
  const folder = join(t.testdir(), 'a folder with 100% blanks');
  await mkdir(folder);
  const effective = async (options: Partial<RenderOptions>) => {
    const path = join(folder, 'config');
    await writeFile(path, renderConfig({ ...OPTIONS, ...options }));
    const { code, stdout, stderr } = await run('ssh', ['-G', '-F', path, HOST_KEY_ALIAS]);
    t.equal(code, 0, stderr);
    t.equal(stderr, '');
    return stdout.split('\n');
  };

  const token = await effective({ knownHosts: join(folder, 'known_hosts') });
  for (const line of [
    'hostname gateway.example',
    'port 2222',
    'user TOKEN',
    'batchmode yes',
    'exitonforwardfailure yes',
    'stricthostkeychecking true',
    'updatehostkeys false',
    'checkhostip no',
    'hostkeyalias zeroforce',
    'globalknownhostsfile /dev/null',
    `userknownhostsfile ${join(folder, 'known_hosts')}`,
    'identitiesonly yes',
    'identityagent none',
    'identityfile none',
    'preferredauthentications none',
    'controlmaster false',
    'serveraliveinterval 10',
    'serveralivecountmax 2',
    'connecttimeout 10',
    'loglevel DEBUG',
    'remoteforward 0 [127.0.0.1]:22',
    'localforward [::1]:13240 [localhost]:3240',
  ]) {
    t.ok(token.includes(line), `${line}\n${token.join('\n')}`);
  }

  const key = await effective({ identityFile: '/x y/id', acceptNew: true, host: 'fe80::1%eth0' });
  t.ok(key.includes('identityfile /x y/id'));
  t.ok(key.includes('preferredauthentications publickey'));
  t.ok(key.includes('stricthostkeychecking accept-new'));
  t.ok(key.includes('hostname fe80::1%eth0'), 'the zone of an address');
});

t.test('what ssh could take for something else is refused, without the value of a user', async (t) => {
  const bad: [string, Partial<RenderOptions>][] = [
    ['a line of its own in the user', { user: 'a\nProxyCommand id' }],
    ['a carriage return in the user', { user: 'a\rb' }],
    ['a blank in the user', { user: 'hush hush' }],
    ['a quote in the user', { user: 'hush"' }],
    ['a token in the user', { user: 'hush%h' }],
    ['an option as the user', { user: '-oProxyCommand=id' }],
    ['an empty user', { user: '' }],
    ['a line of its own in the host', { host: 'a\nUser root' }],
    ['an option as the host', { host: '-oProxyCommand=id' }],
    ['a blank in the host', { host: 'a b' }],
    ['a token in the host', { host: '%d/x' }],
    ['a path that is not absolute', { identityFile: 'id' }],
    ['a home folder', { identityFile: '~/id' }],
    ['a variable in a path', { identityFile: '/x/$HOME' }],
    ['a quote in a path', { knownHosts: '/x"/y' }],
    ['a backslash in a path', { knownHosts: '/x\\' }],
    ['a line of its own in a path', { knownHosts: '/x\nUser root' }],
    ['a line of its own in a target', { forwards: [{ kind: 'remote', target: { host: 'a]:1\nUser b', port: 1 } }] }],
  ];
  for (const [what, change] of bad) {
    t.throws(() => renderConfig({ ...OPTIONS, ...change }), { code: 'ssh.unusable-value' }, what);
    t.throws(() => renderConfig({ ...OPTIONS, ...change }), { message: /^(?![\s\S]*hush)/ }, what);
  }
});
