import t from 'tap';
import { handshakeFault } from '../../src/diagnose/proxy/handshake-fault.ts';
import { sharedKeys } from '../../src/diagnose/proxy/host-keys.ts';
import { hostsEntries, isLocalName, nameServers, oddAddress } from '../../src/diagnose/proxy/names.ts';
import { defaultRoutes, defaultRoutes6 } from '../../src/diagnose/proxy/routes.ts';
import { comesAndGoes, isAgent, isContested } from '../../src/diagnose/proxy/service-tunnel.ts';
import { certificateFault, isPast, stageOf } from '../../src/diagnose/proxy/stages.ts';
import type { ServiceStatus } from '../../src/diagnose/tools.ts';
import type { FailureCode } from '../../src/support/failures.ts';

t.test('each failure belongs to one step, and has the earlier ones behind it', async (t) => {
  t.equal(stageOf('proxy.refused'), 'connect');
  t.equal(stageOf('proxy.tls-pin'), 'tls');
  t.equal(stageOf('ssh.auth-refused'), 'handshake');
  t.equal(stageOf('session.closed'), 'session');
  t.ok(isPast('connect', 'proxy.tls-pin'));
  t.notOk(isPast('tls', 'proxy.tls-pin'));
  t.notOk(isPast('tls', 'proxy.refused'));
});

t.test('what is wrong with a certificate is told by the words of OpenSSL and Node', async (t) => {
  const words = [
    ['certificate has expired', 'expired'],
    ['certificate is not yet valid', 'notYetValid'],
    ["Hostname/IP does not match certificate's altnames: Host: a. is not in the cert's altnames: DNS:b", 'wrongName'],
    ['self-signed certificate', 'selfSigned'],
    ['self signed certificate', 'selfSigned'],
    ['self-signed certificate in certificate chain', 'unknownCa'],
    ['unable to verify the first certificate', 'unknownCa'],
    ['unable to get local issuer certificate', 'unknownCa'],
    ['proxy a:1: the CA file /x cannot be used: ENOENT', 'caFile'],
    ['unsuitable certificate purpose', null],
  ] as const;
  for (const [sentence, fault] of words) t.equal(certificateFault(sentence), fault, sentence);
});

t.test('what the other end said is taken out of the sentence', async (t) => {
  const refused = (said: string) =>
    handshakeFault('proxy.handshake-refused', `the proxy refused this device: "${said}"`);
  t.strictSame(refused('no "such" token'), { name: 'refused', said: 'no "such" token' });
  t.equal(refused('the device is paused until noon').name, 'paused');
  t.equal(handshakeFault('internal.unexpected', 'x').name, 'other');
});

t.test('/etc/hosts and /etc/resolv.conf are read as the system does', async (t) => {
  const hosts = '127.0.0.1 localhost\n# 1.2.3.4 proxy.example\n10.0.0.1\tother Proxy.Example # left over\n';
  t.strictSame(
    hostsEntries(hosts, 'proxy.example.').map(({ address }) => address),
    ['10.0.0.1'],
  );
  t.strictSame(nameServers('# nameserver 9.9.9.9\nnameserver 1.1.1.1\noptions x\n  nameserver fe80::1%eth0\n'), [
    '1.1.1.1',
    'fe80::1%eth0',
  ]);
});

t.test('addresses at which no proxy of others can be', async (t) => {
  for (const odd of ['127.0.1.1', '::1', '0.0.0.0', '::', '169.254.3.4', 'fe80::1', '::ffff:127.0.0.1', '10.0.0.5']) {
    t.type(oddAddress(odd, ['10.0.0.5']), 'string', odd);
  }
  for (const plain of ['10.0.0.6', '92.154.44.5', '2001:db8::1', 'fd00::1'])
    t.equal(oddAddress(plain, []), null, plain);
  t.ok(isLocalName('localhost'));
  t.notOk(isLocalName('localhost.example'));
});

t.test('default routes are read out of the tables of the kernel', async (t) => {
  const head = 'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n';
  const via = 'eth0\t00000000\t014DA8C0\t0003\t0\t0\t0\t00000000\n';
  const net = 'eth0\t004DA8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\n';
  const refused = '*\t00000000\t00000000\t0200\t0\t0\t0\t00000000\n';
  const bare = 'ppp0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\n';
  t.strictSame(defaultRoutes(head + net + via), ['via 192.168.77.1 dev eth0']);
  t.strictSame(defaultRoutes(head + net + refused), []);
  t.strictSame(defaultRoutes(head + bare), ['dev ppp0']);
  const zeros = '0'.repeat(32);
  const line = (flags: string, device: string) =>
    `${zeros} 00 ${zeros} 00 fe800000000000000000000000000001 00000400 00000003 00000000 ${flags} ${device}\n`;
  t.strictSame(defaultRoutes6(line('00000003', 'eth0') + line('00200200', 'lo')), ['IPv6 dev eth0']);
  t.strictSame(defaultRoutes6(''), []);
});

t.test('host keys are compared by type and blob', async (t) => {
  const here = '# 127.0.0.1:22 SSH-2.0-x\n127.0.0.1 ssh-ed25519 AAAA\n127.0.0.1 ssh-rsa BBBB\n';
  t.strictSame(sharedKeys(here, '[1.2.3.4]:9063 ssh-ed25519 AAAA\n'), ['ssh-ed25519']);
  t.strictSame(sharedKeys(here, '[1.2.3.4]:9063 ssh-ed25519 CCCC\n'), []);
  t.equal(sharedKeys(here, '# nothing\n'), null);
});

t.test('a service whose sessions last is steady, whatever it met before', async (t) => {
  const tunnel = (code: FailureCode | null, more: object = {}) =>
    ({
      ...{ state: 'up', inStateMs: 1000, sessions: 5 },
      lastFailure: code && { code, sentence: '', remedy: '', agoMs: 1000 },
      ...more,
    }) as NonNullable<ServiceStatus['tunnel']>;
  const goes = (what: ReturnType<typeof tunnel>, uptimeSeconds = 30) => comesAndGoes({ tunnel: what, uptimeSeconds });
  t.ok(goes(tunnel('session.closed')));
  t.notOk(goes(tunnel(null)));
  t.notOk(goes(tunnel('proxy.refused')), 'the proxy was away');
  t.notOk(goes(tunnel('session.closed'), 3600), 'five sessions in an hour');
  t.notOk(goes(tunnel('session.closed', { sessions: 2 })));
  t.ok(isContested(tunnel('identity.duplicate', { state: 'waiting' })));
  t.ok(isContested(tunnel('identity.duplicate')));
  t.notOk(isContested(tunnel('identity.duplicate', { inStateMs: 11 * 60_000 })), 'peace for minutes');
  t.notOk(isContested(tunnel('session.closed')));
});

t.test('agents are known by their arguments, and nothing else is taken for one', async (t) => {
  for (const words of [
    ['node', '--optimize-for-size', '/opt/z/tunnel-agent.cjs', 'run'],
    ['python3', '/opt/rpi-cam/tunnel_agent.py'],
    ['/usr/bin/tunnel-agent', 'run'],
  ])
    t.ok(isAgent(words), words.join(' '));
  for (const words of [
    ['node', '/opt/z/tunnel-agent.cjs', 'diagnose'],
    ['vi', '/opt/rpi-cam/tunnel_agent.py'],
    ['sh', '-c', 'tunnel-agent run'],
    ['node', 'other.js', 'run'],
    [],
  ])
    t.notOk(isAgent(words), words.join(' '));
});
