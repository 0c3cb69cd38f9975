import { connect } from 'node:tls';
import { Failure, type FailureCode, systemCode } from '../support/failures.ts';
import { excerpt } from './words.ts';

export type Step =
  | 'looking up the name'
  | 'connecting'
  | 'agreeing on TLS'
  | 'waiting for the answer'
  | 'reading the answer';

/** The call that broke, and how far it had come. */
export interface BrokenCall {
  url: string;
  host: string;
  port: number;
  secure: boolean;
  step: Step;
}

/** What is wrong with a certificate, by the name that Node gives to it. */
const CERTIFICATES: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'that has expired, by the clock of this device',
  CERT_NOT_YET_VALID: 'that is not valid yet, by the clock of this device',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'that is self-signed and not among the authorities',
  SELF_SIGNED_CERT_IN_CHAIN: 'of an authority that is not trusted',
  UNABLE_TO_GET_ISSUER_CERT: 'of an authority that is not trusted',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'of an authority that is not trusted',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'of an authority that is not trusted',
  CERT_SIGNATURE_FAILURE: 'of an authority that is not trusted',
  ERR_TLS_CERT_ALTNAME_INVALID: 'for another name',
};
const CERTIFICATE = /^(?:CERT_|CRL_|UNABLE_TO_|SELF_SIGNED|INVALID_|PATH_LENGTH|ERROR_IN_CERT|HOSTNAME_|ERR_TLS_CERT)/;
/** What OpenSSL says when the answer to its greeting is not TLS at all. */
const NOT_TLS = /wrong.version.number|packet.length.too.long|unknown.protocol|http.request|unexpected.message/i;
/** The first byte of a TLS record: an alert or a handshake. */
const TLS_RECORDS = [0x15, 0x16];

/** The failure behind an error of `node:http`, `node:https`, or what is below them. */
export async function transportFailure(error: unknown, call: BrokenCall, signal: AbortSignal): Promise<Failure> {
  const { url, host, secure, step } = call;
  const code = systemCode(error) ?? '';
  const message = error instanceof Error ? error.message : String(error);
  const failure = (as: FailureCode, what: string) => new Failure(as, `${url} ${what}`, { cause: error });

  const certificate = CERTIFICATES[code] ?? (CERTIFICATE.test(code) ? `that is not trusted (${code})` : null);
  if (certificate !== null) {
    const names = code === 'ERR_TLS_CERT_ALTNAME_INVALID' ? ` than ${host}` : '';
    return failure('meeting.api-tls', `showed a certificate ${certificate}${names}`);
  }
  if (step === 'agreeing on TLS') {
    if (NOT_TLS.test(`${code} ${message}`)) {
      return failure('meeting.api-tls-not-spoken', 'answered the TLS greeting with something else');
    }
    if (code === 'ECONNRESET' || code === 'EPIPE') {
      return failure('meeting.api-tls-not-spoken', 'closed the connection at the TLS greeting');
    }
    return failure('meeting.api-tls', `and this device agree on no way to speak TLS: ${excerpt(message, '')}`);
  }
  if (code.startsWith('HPE_')) {
    const [first = 0] = (error as { rawPacket?: Buffer }).rawPacket ?? [];
    if (!secure && TLS_RECORDS.includes(first)) return failure('meeting.api-tls-required', 'answered in TLS');
    return failure('meeting.api-answer', `answered with something that is not HTTP (${code})`);
  }
  if (step === 'reading the answer') return failure('meeting.api-answer', 'ended in the middle of its answer');
  if (step === 'waiting for the answer') {
    // Many servers close without a word when the greeting of TLS does not come.
    if (!secure && (await speaksTls(call, signal))) return failure('meeting.api-tls-required', 'expects TLS');
    return failure('meeting.api-unreachable', `closed the connection without an answer (${code})`);
  }
  const what =
    code === 'ENOTFOUND' || code === 'EAI_AGAIN'
      ? `could not be looked up: ${code}`
      : `could not be reached: ${code || message}`;
  return failure('meeting.api-unreachable', what);
}

/** Whether a server greets back. Nothing is sent to it but the greeting, so its certificate does not matter. */
function speaksTls({ host, port }: BrokenCall, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, rejectUnauthorized: false });
    const end = (speaks: boolean) => {
      signal.removeEventListener('abort', onAbort);
      socket.destroy();
      resolve(speaks);
    };
    const onAbort = () => end(false);
    signal.addEventListener('abort', onAbort);
    if (signal.aborted) onAbort();
    socket.on('error', () => end(false));
    socket.once('close', () => end(false));
    socket.once('secureConnect', () => end(true));
  });
}
