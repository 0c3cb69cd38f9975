import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type OutgoingHttpHeaders, request } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { createPairingApp, type PairingAppOptions } from '../../src/pairing/http.ts';
import type { Policy } from '../../src/pairing/pairing.ts';
import type { PinRequest } from '../../src/pairing/pin-guard.ts';
import { parsePublicKey } from '../../src/pairing/public-key.ts';
import { systemClock } from '../../src/support/clock.ts';
import { Failure } from '../../src/support/failures.ts';
import { testLog } from './test-log.ts';

export const TUNNEL_SOURCE = '127.0.0.77';

/** Stands in for the service: open or not as the test says, keeps the keys in memory. */
export class ScriptedPairing {
  open = true;
  /** Thrown by `setKey` after the key was found good. */
  failure: Error | null = null;
  readonly keys: { text: string; source: string }[] = [];
  policy: Policy = 'open';
  /** Why no proof of the PIN is accepted; null: any is. */
  pinFailure: Failure | null = new Failure('pairing.closed', 'the policy is open');
  pinWait = 0;
  readonly proofs: PinRequest[] = [];

  isOpen(): boolean {
    return this.open;
  }

  async setKey(text: string, source: string): Promise<void> {
    parsePublicKey(text);
    if (this.failure !== null) throw this.failure;
    if (!this.open) throw new Failure('pairing.closed', 'pairing is not open');
    this.keys.push({ text: text.trim(), source });
  }

  refusesPin(): Failure | null {
    return this.pinFailure;
  }

  pinWaitSeconds(): number {
    return this.pinWait;
  }

  async pinChallenge() {
    if (this.failure !== null) throw this.failure;
    return { session: 'ab'.repeat(16), salt: Buffer.alloc(16, 1), B: Buffer.alloc(384, 2) };
  }

  async setKeyWithPin(request: PinRequest) {
    if (this.failure !== null) throw this.failure;
    parsePublicKey(request.key);
    this.proofs.push(request);
    return { M2: Buffer.alloc(64, 3) };
  }
}

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
}

export interface Ask {
  method?: string;
  headers?: OutgoingHttpHeaders;
  body?: string | Buffer;
  /** The address to come from. */
  from?: string;
  /** The address to go to. */
  to?: string;
}

/** The routes on a real server of this process; ended by the test's teardown. */
export async function startPairingApp(
  t: { teardown: (end: () => unknown) => void },
  options: Partial<PairingAppOptions> = {},
  host = '::',
) {
  const pairing = new ScriptedPairing();
  const { log, lines, has } = testLog();
  const app = createPairingApp({
    pairing,
    info: () => ({ version: '1.2.3', hostname: 'beamer', uptimeSeconds: 12.9, devmode: false }),
    healthy: () => true,
    tunnelSource: TUNNEL_SOURCE,
    allowedHosts: () => [],
    clock: systemClock,
    log,
    ...options,
  });
  const server = createServer(app);
  server.listen(0, host);
  await once(server, 'listening');
  t.teardown(
    () =>
      new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
      }),
  );
  const { port } = server.address() as AddressInfo;

  const ask = (path: string, { method = 'GET', headers = {}, body, from, to = '127.0.0.1' }: Ask = {}) =>
    new Promise<Answer>((resolve, reject) => {
      const outgoing = request({
        host: to,
        port,
        path,
        method,
        headers,
        agent: false,
        ...(from === undefined ? {} : { localAddress: from }),
      });
      outgoing.once('error', reject);
      outgoing.once('response', (incoming) => {
        let text = '';
        incoming.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk;
        });
        incoming.once('error', reject);
        incoming.once('end', () =>
          resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, body: text }),
        );
      });
      outgoing.end(body);
    });

  const form = (key: string, more: Ask = {}) =>
    ask('/zeroforce/setkey', {
      method: 'POST',
      body: `key=${encodeURIComponent(key)}`,
      ...more,
      headers: { 'Content-Type': 'application/x-www-form-urlencoded', ...more.headers },
    });

  /** Sends bytes as they are and gives what came back when the server, or both sides, have ended. */
  const raw = async (bytes: string | Buffer): Promise<string> => {
    const socket = connect(port, '127.0.0.1');
    let text = '';
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    socket.write(bytes);
    await once(socket, 'close');
    return text;
  };

  return { ask, form, raw, pairing, port, server, lines, has };
}
