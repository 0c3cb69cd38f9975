import type { FailureCode } from '../../support/failures.ts';

/** The steps towards a session, in their order; each is a check. */
const STAGES = ['connect', 'tls', 'handshake', 'session'] as const;

export type Stage = (typeof STAGES)[number];

/** Where an attempt stands that failed so. What is missing here came after the connection stood. */
const STAGE_OF: Partial<Record<FailureCode, Stage>> = {
  'proxy.dns': 'connect',
  'proxy.refused': 'connect',
  'proxy.unreachable': 'connect',
  'proxy.timeout': 'connect',
  'ssh.dns': 'connect',
  'ssh.refused': 'connect',
  'ssh.unreachable': 'connect',
  'ssh.timeout': 'connect',
  'ssh.missing': 'connect',
  'ssh.folder-unusable': 'connect',
  'ssh.unusable-value': 'connect',
  'proxy.tls-untrusted': 'tls',
  'proxy.tls-pin': 'tls',
  'proxy.tls-failed': 'tls',
  'proxy.tls-not-spoken': 'tls',
  'session.closed': 'session',
  'session.reset': 'session',
  'session.peer-dead': 'session',
  'session.protocol-error': 'session',
  'session.going-away': 'session',
  'operator.disconnected': 'session',
  'identity.duplicate': 'session',
};

export function stageOf(code: FailureCode): Stage {
  return STAGE_OF[code] ?? 'handshake';
}

/** Whether an attempt that failed with `code` had `stage` behind it. */
export function isPast(stage: Stage, code: FailureCode): boolean {
  return STAGES.indexOf(stage) < STAGES.indexOf(stageOf(code));
}

/** Whether whatever failed so may well be another machine than the one that is meant. */
export function isElsewhere(code: FailureCode): boolean {
  if (stageOf(code) === 'connect' || stageOf(code) === 'tls') return true;
  return ELSEWHERE.includes(code);
}

const ELSEWHERE: readonly FailureCode[] = [
  'proxy.tls-required',
  'proxy.not-protocol',
  'proxy.handshake-silent',
  'ssh.not-ssh',
  'ssh.silent',
  'ssh.host-key-changed',
];

export type CertificateFault = 'expired' | 'notYetValid' | 'wrongName' | 'selfSigned' | 'unknownCa' | 'caFile';

/** As OpenSSL and Node word it (X509_verify_cert_error_string(3), tls.checkServerIdentity); null for anything else. */
export function certificateFault(sentence: string): CertificateFault | null {
  const found = CERTIFICATE_WORDS.find(([words]) => words.test(sentence));
  return found?.[1] ?? null;
}

const CERTIFICATE_WORDS: readonly (readonly [RegExp, CertificateFault])[] = [
  [/the CA file .* cannot be used/, 'caFile'],
  [/certificate has expired/, 'expired'],
  [/certificate is not yet valid/, 'notYetValid'],
  [/altnames|does not match certificate/i, 'wrongName'],
  // One in the chain is an authority that this device does not know.
  [/self[- ]signed certificate in certificate chain/, 'unknownCa'],
  [/self[- ]signed certificate/, 'selfSigned'],
  [/unable to (?:get|verify).*(?:issuer|first) certificate/, 'unknownCa'],
];
