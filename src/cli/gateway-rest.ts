import { X509Certificate } from 'node:crypto';
import { type IncomingMessage, request } from 'node:http';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { GatewayConfig } from '../config/gateway-types.ts';
import { Failure, type FailureCode, systemCode } from '../support/failures.ts';
import { readSmallFile, UnfitFile } from '../support/small-file.ts';
import { cleanText, hostAndPort } from '../support/text.ts';

/** A healthy gateway answers in milliseconds, and takes its time with a wrong token. */
const TIMEOUT_MS = 15_000;
/** A fleet of ten thousand devices fits well. */
const MAX_ANSWER_BYTES = 32 * 1024 * 1024;
const MAX_TOKEN_BYTES = 4 * 1024;
const MAX_CERTIFICATE_BYTES = 1024 * 1024;

/** Asks the running gateway; `route` is for example `GET /api/devices`. Gives its answer: JSON, or a script as text. */
export type Rest = (route: string, body?: unknown) => Promise<unknown>;

/**
 * The REST interface of the gateway that runs on this machine with this configuration. The address, the token and the
 * certificate come from the environment, as the gateway's own do; nothing is found out by trying.
 *
 * @throws Failure `gateway.token-refused` where the token cannot be read here. Calls throw that where the gateway
 * refuses it, `gateway.not-running`, `gateway.no-answer` where something answers that is not this gateway, and
 * `gateway.refused` with its sentence
 */
export async function openRest(config: GatewayConfig, timeoutMs = TIMEOUT_MS): Promise<Rest> {
  const where = { host: loopbackOf(config.http.host), port: config.http.port };
  const name = hostAndPort(where.host, where.port);
  const token = await readToken(config, name);
  const certificate = config.tls === null ? null : await readCertificate(config.tls.cert);
  return async (route, body) => {
    let answer: Answer;
    try {
      answer = await exchange({ where, certificate, token, route, body, timeoutMs });
    } catch (error) {
      throw noAnswer(error, name);
    }
    return readAnswer(answer, name);
  };
}

/** The address to ask at where the gateway listens on all. */
function loopbackOf(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  return host === '::' ? 'localhost' : host; // either family: where there is no IPv6 the gateway has 0.0.0.0
}

async function readToken({ adminToken, adminTokenFile }: GatewayConfig, name: string): Promise<string> {
  if (adminToken !== null) return adminToken.reveal();
  try {
    const { bytes } = await readSmallFile(adminTokenFile, MAX_TOKEN_BYTES);
    const token = bytes.toString('utf8').trim();
    // Anything else would not fit into a header; the file is the gateway's to judge.
    if (!/^[\x21-\x7e]+$/.test(token)) throw new UnfitFile('it holds no token');
    return token;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') {
      throw new Failure(
        'gateway.not-running',
        `no gateway was started with this environment for ${name}: there is no ${adminTokenFile}`,
        { cause: error },
      );
    }
    const why = error instanceof UnfitFile ? error.message : (systemCode(error) ?? String(error));
    throw new Failure('gateway.token-refused', `the token of the operator cannot be read: ${adminTokenFile}: ${why}`, {
      cause: error,
    });
  }
}

async function readCertificate(path: string): Promise<X509Certificate> {
  try {
    return new X509Certificate((await readSmallFile(path, MAX_CERTIFICATE_BYTES)).bytes);
  } catch (error) {
    const why = error instanceof UnfitFile ? error.message : (systemCode(error) ?? 'it is no certificate in PEM');
    throw new Failure('gateway.certificate-unusable', `the certificate ${path} cannot be used: ${why}`, {
      cause: error,
    });
  }
}

interface Exchange {
  where: { host: string; port: number };
  /** The one that has to answer; null without TLS. */
  certificate: X509Certificate | null;
  token: string;
  route: string;
  body: unknown;
  timeoutMs: number;
}

interface Answer {
  status: number;
  type: string;
  text: string;
}

/** One call on a connection of its own, bounded as a whole: a socket's own timeout starts anew with every byte. */
async function exchange({ where, certificate, token, route, body, timeoutMs }: Exchange): Promise<Answer> {
  const deadline = AbortSignal.timeout(timeoutMs);
  const socket = await connect(where, certificate, deadline);
  try {
    const [method = '', path = ''] = route.split(' ');
    const text = body === undefined ? null : JSON.stringify(body);
    const headers = {
      accept: 'application/json',
      authorization: `Bearer ${token}`,
      connection: 'close',
      ...(text === null ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
    };
    return await new Promise<Answer>((resolve, reject) => {
      const expire = () => reject(new Error(`no answer within ${timeoutMs} ms`));
      deadline.addEventListener('abort', expire);
      const call = request({ ...where, method, path, headers, createConnection: () => socket }, (response) => {
        const { statusCode: status = 0, headers } = response;
        readBody(response).then((text) => resolve({ status, type: headers['content-type'] ?? '', text }), reject);
      });
      call.on('error', reject);
      call.end(text);
    });
  } finally {
    socket.destroy();
  }
}

/** A connection to the one that has the certificate: before anything secret is sent. */
function connect(
  where: Exchange['where'],
  certificate: X509Certificate | null,
  deadline: AbortSignal,
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const fail = (error: Error) => {
      socket.destroy();
      reject(error);
    };
    const expire = () => fail(new Error('no connection within the time'));
    const connected = () => {
      deadline.removeEventListener('abort', expire);
      socket.off('error', fail);
      socket.on('error', () => undefined); // whoever uses it hears it by the request
      resolve(socket);
    };
    const socket =
      certificate === null
        ? connectTcp(where, () => connected())
        : // It is compared with the very certificate below: authorities and names say less.
          connectTls({ ...where, rejectUnauthorized: false }, () => {
            const shown = secure().getPeerX509Certificate();
            if (shown?.fingerprint256 === certificate.fingerprint256) connected();
            else fail(new Error('its certificate is not that of GATEWAY_TLS_CERT'));
          });
    const secure = () => socket as ReturnType<typeof connectTls>;
    socket.on('error', fail);
    deadline.addEventListener('abort', expire);
  });
}

async function readBody(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_ANSWER_BYTES) throw new Error('its answer is too long');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** What the words of the API (docs/gateway-api.md) are called here, for what to do next. */
const CODES: Readonly<Record<string, FailureCode>> = {
  Unauthorized: 'gateway.token-refused',
  'Device not found': 'gateway.device-unknown',
  'Device exists': 'gateway.device-exists',
  'Device offline': 'gateway.device-offline',
  'Device paused': 'gateway.device-paused',
  'Device not authorized': 'gateway.not-authorized',
  'Device missing token': 'gateway.no-token',
  'Service not forwarded': 'gateway.service-not-forwarded',
  'No available port in range': 'gateway.no-port',
  'Port taken': 'gateway.port-taken',
  'Store failed': 'gateway.store-failed',
};

function readAnswer({ status, type, text }: Answer, name: string): unknown {
  if (status === 200 && type.startsWith('text/x-sh')) return text;
  const value = parse(text);
  const { ok, error, message } = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>;
  if (typeof error === 'string' && typeof message === 'string') {
    const code = Object.hasOwn(CODES, error) ? CODES[error] : undefined;
    throw new Failure(code ?? 'gateway.refused', cleanText(message, 500));
  }
  // A gateway that drains says so with 503.
  if (value !== undefined && ((status >= 200 && status < 300) || typeof ok === 'boolean')) return value;
  throw new Failure('gateway.no-answer', `what listens at ${name} does not answer as a gateway: it answered ${status}`);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function noAnswer(error: unknown, name: string): Failure {
  const code = systemCode(error) ?? aggregated(error);
  if (code === 'ECONNREFUSED' || code === 'EADDRNOTAVAIL') {
    return new Failure('gateway.not-running', `no gateway answers at ${name}`, { cause: error });
  }
  const why = error instanceof Error ? error.message : String(error);
  return new Failure('gateway.no-answer', `what listens at ${name} does not answer as a gateway: ${why}`, {
    cause: error,
  });
}

/** Of a name with several addresses, all of which were refused. */
function aggregated(error: unknown): string | null {
  return error instanceof AggregateError ? systemCode(error.errors[0]) : null;
}
