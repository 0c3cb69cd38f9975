import { createHash, X509Certificate } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { connect, isIP, type OnReadOpts, type Socket } from 'node:net';
import {
  type ConnectionOptions,
  createSecureContext,
  type SecureContext,
  type TLSSocket,
  connect as tlsConnect,
} from 'node:tls';
import { type BufferPool, PooledReader } from '../link/buffer-pool.ts';
import { abortScope } from '../support/abort-scope.ts';
import type { Clock } from '../support/clock.ts';
import { Failure, type FailureCode, systemCode } from '../support/failures.ts';
import { readSmallFile, UnfitFile } from '../support/small-file.ts';

/** Where the proxy is. */
export interface ProxyAddress {
  /** A name, looked up at every dial, or an IP address. */
  host: string;
  port: number;
  /** null: plain TCP. */
  tls: TlsTrust | null;
}

/**
 * What makes a TLS peer the right one. With neither, its certificate must be valid for the host by the authorities
 * that Node knows. `ca` replaces these. `pin` alone decides by itself: a certificate that holds this key is accepted,
 * be it self-signed or expired (a device without a clock battery can rely on it). With both, both must hold.
 */
export interface TlsTrust {
  /** Path of a PEM file, read at every dial. */
  ca?: string;
  /** SHA-256 of the certificate's SubjectPublicKeyInfo, 64 lower-case hex digits. */
  pin?: string;
}

export interface DialOptions {
  pool: BufferPool;
  clock: Clock;
  /** For everything together: CA file, look-up, connection, TLS. */
  timeoutMs: number;
  /** Ends the attempt; the promise then rejects with the signal's reason. */
  signal: AbortSignal;
}

/** A connection that stands, its certificate approved; what the peer has sent meanwhile waits in `reader`. */
export interface Dialled {
  socket: Socket;
  reader: PooledReader;
}

/**
 * The next address is tried beside the others when none has answered after this time (RFC 8305, section 5). None is
 * given up before the deadline: Node's own `autoSelectFamily` drops each after 250 ms, which loses slow links.
 */
const NEXT_ADDRESS_MS = 250;

/**
 * Silence before the kernel asks whether an idle peer is still there. libuv then asks every second, ten times, so a
 * dead one is noticed within 30 s; the promise is 45.
 */
const KEEPALIVE_MS = 20_000;

/**
 * Connects to the proxy by the first of its addresses that answers.
 *
 * @throws Failure `proxy.dns`, `proxy.refused`, `proxy.unreachable`, `proxy.timeout`, `proxy.tls-untrusted`,
 * `proxy.tls-pin`, `proxy.tls-not-spoken`, `proxy.tls-failed` or `proxy.handshake-refused`; the signal's reason when that ended it
 */
export async function dial(proxy: ProxyAddress, options: DialOptions): Promise<Dialled> {
  const { clock, signal, timeoutMs } = options;
  const { scope, release } = abortScope(signal);
  let late: FailureCode = 'proxy.timeout';
  let step = 'reading the CA file';
  const cancelDeadline = clock.after(timeoutMs, () =>
    scope.abort(new Failure(late, `${name(proxy)} took more than ${timeoutMs / 1000} s: ${step}`)),
  );
  try {
    const trust = proxy.tls === null ? null : await abortable(scope.signal, loadTrust(proxy, proxy.tls));
    step = `looking up ${proxy.host}`;
    const addresses = await lookUp(proxy, scope.signal);
    step = `connecting to ${addresses.join(', ')}`;
    const dialled = await connectAny(proxy, addresses, trust, options, scope.signal);
    if (trust === null) return dialled;
    // A plain proxy waits for a line end, which the TLS greeting does not have.
    late = 'proxy.tls-not-spoken';
    step = 'the connection stands, but nothing answered the TLS greeting';
    return await secured(proxy, dialled, trust, scope.signal);
  } finally {
    cancelDeadline();
    release();
  }
}

const name = (proxy: ProxyAddress) => `proxy ${proxy.host}:${proxy.port}`;

/** `work`, or the signal's reason as soon as it is aborted; `undo` then ends what the work had started. */
function abortable<T>(signal: AbortSignal, work: Promise<T>, undo: () => void = () => {}): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      undo();
      reject(signal.reason as Error);
    };
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort);
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

interface Trust {
  context: SecureContext;
  /** Whether the certificate has to be valid for the host by its chain. */
  chain: boolean;
  pin: string | null;
}

/** Far above the authorities of a whole system, and little enough for a device. */
const CA_LIMIT_BYTES = 1024 * 1024;

async function loadTrust(proxy: ProxyAddress, tls: TlsTrust): Promise<Trust> {
  const { ca } = tls;
  const pin = tls.pin ?? null;
  if (ca === undefined) return { context: createSecureContext(), chain: pin === null, pin };
  try {
    const pem = (await readSmallFile(ca, CA_LIMIT_BYTES)).bytes;
    new X509Certificate(pem); // createSecureContext says nothing when it finds none
    return { context: createSecureContext({ ca: pem }), chain: true, pin };
  } catch (cause) {
    const why = cause instanceof UnfitFile ? cause.message : (systemCode(cause) ?? 'it holds no certificate');
    throw new Failure('proxy.tls-untrusted', `${name(proxy)}: the CA file ${ca} cannot be used: ${why}`, { cause });
  }
}

async function lookUp(proxy: ProxyAddress, signal: AbortSignal): Promise<string[]> {
  const found = lookup(proxy.host, { all: true }).catch((cause: unknown) => {
    const why = systemCode(cause) ?? 'unknown';
    throw new Failure('proxy.dns', `the name ${proxy.host} could not be looked up: ${why}`, { cause });
  });
  return (await abortable(signal, found)).map(({ address }) => address);
}

/** Tries the addresses in their order, each a little after the one before, and keeps the first that answers. */
function connectAny(
  proxy: ProxyAddress,
  addresses: string[],
  trust: Trust | null,
  { pool, clock }: DialOptions,
  signal: AbortSignal,
): Promise<Dialled> {
  const waiting = [...addresses];
  const open = new Set<Socket>();
  const problems: { address: string; error: Error }[] = [];
  let cancelNext = () => {};
  const abandon = (winner?: Socket) => {
    cancelNext();
    waiting.length = 0;
    for (const socket of open) if (socket !== winner) socket.destroy();
  };
  const first = new Promise<Dialled>((resolve, reject) => {
    const tryNext = () => {
      cancelNext();
      const address = waiting.shift();
      if (address === undefined) {
        if (open.size === 0) reject(unreached(proxy, problems));
        return;
      }
      const dialled = start(proxy, address, trust, pool);
      const { socket } = dialled;
      open.add(socket);
      socket.once('connect', () => {
        abandon(socket);
        resolve(dialled);
      });
      socket.once('error', (error) => {
        open.delete(socket);
        problems.push({ address, error });
        tryNext();
      });
      cancelNext = clock.after(NEXT_ADDRESS_MS, tryNext);
    };
    tryNext();
  });
  return abortable(signal, first, abandon);
}

function start(proxy: ProxyAddress, address: string, trust: Trust | null, pool: BufferPool): Dialled {
  const reader = new PooledReader(pool);
  const target = { host: address, port: proxy.port, onread: reader.onread as OnReadOpts };
  const socket = trust === null ? connect(target) : tlsConnect({ ...target, ...tlsOptions(proxy, trust) });
  socket.on('error', () => {}); // whoever owns the socket at that moment listens too; this one outlasts them
  socket.once('connect', () => {
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEPALIVE_MS);
  });
  reader.attach(socket);
  return { socket, reader };
}

function tlsOptions(proxy: ProxyAddress, { context, chain }: Trust): ConnectionOptions {
  return {
    secureContext: context,
    // An address has no SNI; Node then compares the certificate with `host`, which is that address.
    ...(isIP(proxy.host) === 0 && { servername: proxy.host }),
    // Without the chain there is a pin, and it is compared before the first byte is sent.
    rejectUnauthorized: chain,
  };
}

/** Waits for the end of the TLS handshake and compares the pin. */
async function secured(proxy: ProxyAddress, dialled: Dialled, trust: Trust, signal: AbortSignal): Promise<Dialled> {
  const socket = dialled.socket as TLSSocket;
  const greeted = new Promise<Dialled>((resolve, reject) => {
    socket.once('error', (error) => reject(tlsFailure(proxy, error)));
    socket.once('secureConnect', () => {
      const wrong = pinFailure(proxy, socket, trust.pin);
      if (wrong === null) return resolve(dialled);
      socket.destroy();
      reject(wrong);
    });
  });
  return abortable(signal, greeted, () => socket.destroy());
}

function pinFailure(proxy: ProxyAddress, socket: TLSSocket, pin: string | null): Failure | null {
  if (pin === null) return null;
  const certificate = socket.getPeerX509Certificate();
  const found = certificate === undefined ? null : spkiDigest(certificate);
  if (found === pin) return null;
  const what = found === null ? 'showed no certificate' : `holds another key than the pinned one: ${found}`;
  return new Failure('proxy.tls-pin', `${name(proxy)} ${what}`);
}

/** SHA-256 of the key that a certificate holds, in lower-case hex. */
function spkiDigest({ publicKey }: X509Certificate): string {
  return createHash('sha256')
    .update(publicKey.export({ type: 'spki', format: 'der' }))
    .digest('hex');
}

/** What OpenSSL says when the answer to its greeting is not TLS at all. */
const NOT_TLS = /WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|UNKNOWN_PROTOCOL|HTTP_REQUEST|UNEXPECTED_MESSAGE/;

function tlsFailure(proxy: ProxyAddress, error: Error): Failure {
  const code = systemCode(error) ?? '';
  const failure = (as: FailureCode, sentence: string) =>
    new Failure(as, `${name(proxy)} ${sentence}`, { cause: error });
  if (NOT_TLS.test(code)) return failure('proxy.tls-not-spoken', 'answered the TLS greeting with something else');
  if (code === 'ECONNRESET' || code === 'EPIPE')
    return failure('proxy.tls-not-spoken', 'closed the connection at the TLS greeting');
  if (code === 'ERR_SSL_TLSV1_ALERT_ACCESS_DENIED')
    return failure('proxy.handshake-refused', 'refuses this device for now, before its TLS: it is busy');
  if (code.startsWith('ERR_SSL'))
    return failure('proxy.tls-failed', `and this device agree on no way to speak TLS: ${code}`);
  return failure('proxy.tls-untrusted', `showed a certificate that is not trusted: ${error.message}`);
}

const CONNECT_CODES: Record<string, FailureCode> = {
  ECONNREFUSED: 'proxy.refused',
  ECONNRESET: 'proxy.refused',
  ETIMEDOUT: 'proxy.timeout',
};

/** One failure for all addresses, named after the one that came furthest. */
function unreached(proxy: ProxyAddress, problems: { address: string; error: Error }[]): Failure {
  const codes = problems.map(({ error }) => CONNECT_CODES[systemCode(error) ?? ''] ?? 'proxy.unreachable');
  const code =
    (['proxy.refused', 'proxy.timeout'] as const).find((each) => codes.includes(each)) ?? 'proxy.unreachable';
  const list = problems.map(({ address, error }) => `${address} ${systemCode(error) ?? error.message}`).join(', ');
  return new Failure(code, `${name(proxy)} could not be reached: ${list}`, { cause: problems[0]?.error });
}
