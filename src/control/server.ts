import { chmod, lstat, rename, unlink } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { asFailure, Failure, systemCode } from '../support/failures.ts';
import type { Log } from '../support/log.ts';
import { CONTROL_SOCKET, requestControl } from './client.ts';
import { inTurn } from './turn.ts';

/** sun_path of unix(7), without the byte that ends it. */
const MAX_PATH_BYTES = 107;

/**
 * What can be asked, by method and path: `GET /status`. A route takes the parsed JSON of the request (undefined without
 * a body) and gives plain JSON; a Failure that it throws reaches the asker by its name.
 */
export type ControlRoutes = Readonly<Record<string, (body: unknown) => Promise<unknown>>>;

export interface ControlServerOptions {
  runDir: string;
  /** Must have `GET /status` with the service's `pid`: a second service asks for it. */
  routes: ControlRoutes;
  log: Log;
}

/** What a command can have to say fits many times. */
const MAX_REQUEST_BYTES = 64 * 1024;

/**
 * The local entrance for the command line: HTTP over `RUN_DIR/control.sock`, for the service's own user only (0600).
 * The socket is also the proof that no second service runs in this run folder.
 */
export class ControlServer {
  readonly #options: ControlServerOptions;
  readonly #path: string;
  #server: Server | null = null;

  constructor(options: ControlServerOptions) {
    this.#options = options;
    this.#path = join(options.runDir, CONTROL_SOCKET);
  }

  /**
   * Starts to listen. A socket left behind by a crash is replaced.
   * @throws Failure `instance.running` where a living service answers, `run-dir.unwritable` where no socket can be made
   */
  async start(): Promise<void> {
    if (Buffer.byteLength(this.#path) > MAX_PATH_BYTES) {
      // Node would cut the path, and make the socket somewhere else.
      throw new Failure(
        'run-dir.unwritable',
        `${this.#path} is longer than the ${MAX_PATH_BYTES} bytes of a socket's path`,
      );
    }
    // Else of three starts at once one could move aside what the first has just made, and the third find its place empty.
    await inTurn(this.#path, () => this.#replace());
    await chmod(this.#path, 0o600);
  }

  async #replace(): Promise<void> {
    await this.#removeStale();
    try {
      this.#server = await this.#listen();
    } catch (error) {
      if (systemCode(error) === 'EADDRINUSE') await this.#refuseSecond(CONTROL_SOCKET); // it was faster by a moment
      const why = error instanceof Error ? error.message : String(error);
      throw new Failure('run-dir.unwritable', `cannot make ${this.#path}: ${why}`, { cause: error });
    }
  }

  /** Makes the socket where it is missing: the start failed, or the run folder was removed under the service. */
  async heal(): Promise<void> {
    const there = await lstat(this.#path).catch(() => null);
    if (there?.isSocket()) return;
    const vanished = this.#server !== null;
    await this.stop();
    await this.start();
    if (vanished) this.#options.log.warn({ path: this.#path }, 'the control socket had vanished and was made again');
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    if (server === null) return;
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  }

  /**
   * Of two starts at once, both may find a stale socket, and the slower one would remove what the faster one has just
   * made. So the socket is moved aside first, where nobody else touches it, and asked again.
   */
  async #removeStale(): Promise<void> {
    const there = await lstat(this.#path).catch(() => null);
    if (there === null) return;
    if (!there.isSocket()) {
      throw new Failure('run-dir.unwritable', `${this.#path} is in the way: it is not a socket; remove it`);
    }
    await this.#refuseSecond(CONTROL_SOCKET);
    const aside = `.${process.pid}`; // no longer than the name itself, see MAX_PATH_BYTES
    const asidePath = join(this.#options.runDir, aside);
    try {
      await rename(this.#path, asidePath);
      try {
        await this.#refuseSecond(aside);
      } catch (error) {
        await rename(asidePath, this.#path);
        throw error;
      }
      await unlink(asidePath);
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw asFailure(error, 'run-dir.unwritable');
    }
  }

  /** @throws Failure `instance.running` unless nobody is behind the socket */
  async #refuseSecond(socketName: string): Promise<void> {
    const { runDir } = this.#options;
    const running = await requestControl(runDir, 'GET /status', { socketName }).catch((error: unknown) => {
      if (error instanceof Failure && error.code === 'service.not-running') return null;
      return { pid: 'unknown' };
    });
    if (running === null) return;
    const { pid } = running as { pid?: unknown };
    throw new Failure('instance.running', `another tunnel-agent (process ${String(pid)}) runs with ${runDir}`);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { status, body } = await this.#route(request);
    response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body));
  }

  async #route(request: IncomingMessage): Promise<{ status: number; body: unknown }> {
    const name = `${request.method} ${request.url}`;
    const route = Object.hasOwn(this.#options.routes, name) ? this.#options.routes[name] : undefined;
    if (route === undefined) return { status: 404, body: { code: 'service.no-answer', sentence: `no route ${name}` } };
    try {
      return { status: 200, body: (await route(await readJson(request))) ?? null };
    } catch (error) {
      const { code, message } = asFailure(error);
      if (!(error instanceof Failure)) this.#options.log.error({ err: error }, `${name} failed for a fault of our own`);
      return { status: 500, body: { code, sentence: message } };
    }
  }

  #listen(): Promise<Server> {
    const server = createServer((request, response) => void this.#answer(request, response));
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(this.#path, () => {
        server.off('error', reject);
        server.on('error', (error) => this.#options.log.error({ err: error }, 'the control socket reported an error'));
        resolve(server);
      });
    });
  }
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > MAX_REQUEST_BYTES) throw new Error(`a request of more than ${MAX_REQUEST_BYTES} bytes`);
  }
  return bytes === 0 ? undefined : JSON.parse(Buffer.concat(chunks).toString());
}
