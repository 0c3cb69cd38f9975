import type { FailureCode } from '../../support/failures.ts';

/** The findings of `proxy.handshake`, by what the failure of an attempt is called. */
const NAMES = {
  'operator.paused': 'paused',
  'operator.not-authorized': 'refused',
  'operator.token-rotated': 'tokenRotated',
  'proxy.handshake-refused': 'refused',
  'proxy.handshake-closed': 'closed',
  'proxy.handshake-silent': 'silent',
  'proxy.tls-required': 'tlsRequired',
  'proxy.not-protocol': 'notProtocol',
  'ssh.auth-refused': 'tokenRefused',
  'ssh.host-key-changed': 'hostKeyChanged',
  'ssh.host-key-unreadable': 'hostKeyUnreadable',
  'ssh.forward-refused': 'forwardRefused',
  'ssh.pairing-forwarded': 'pairingForwarded',
  'ssh.no-common': 'noCommon',
  'ssh.not-ssh': 'notProtocol',
  'ssh.silent': 'silent',
  'ssh.closed': 'refused',
} as const satisfies Partial<Record<FailureCode, string>>;

type Name = (typeof NAMES)[keyof typeof NAMES] | 'webServer' | 'sshServer' | 'other';

/** What is the matter with a handshake that failed so, and what the other end said, or the sentence instead. */
export function handshakeFault(code: FailureCode, sentence: string): { name: Name; said: string } {
  const said = /"(.+)"/s.exec(sentence)?.[1] ?? sentence;
  const name = (NAMES as Partial<Record<FailureCode, Name>>)[code] ?? 'other';
  // Such words of a peer are told only to who had the right token.
  if (name === 'refused' && /\bpaused\b/i.test(said)) return { name: 'paused', said };
  if (code === 'proxy.not-protocol' && /\bHTTP\b/.test(sentence)) return { name: 'webServer', said };
  if (code === 'proxy.not-protocol' && /\bSSH server\b/.test(sentence)) return { name: 'sshServer', said };
  return { name, said };
}
