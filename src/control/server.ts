import { chmod, lstat, rename, unlink } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { asFailure, Failure, systemCode } from '../support/failures.ts';
import type { Log } from '../support/log.ts';
import { CONTROL_SOCKET, requestControl } from './client.ts';

/** sun_path of unix(7), without the byte that ends it. */
const MAX_PATH_BYTES = 107;

export interface ControlServerOptions {
  runDir: string;
  /** What `GET /status` answers; must be plain JSON without secrets. */
  status: () => Promise<unknown>;
  log: Log;
}

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
    await this.#removeStale();
    try {
      this.#server = await this.#listen();
    } catch (error) {
      if (systemCode(error) === 'EADDRINUSE') await this.#refuseSecond(CONTROL_SOCKET); // it was faster by a moment
      const why = error instanceof Error ? error.message : String(error);
      throw new Failure('run-dir.unwritable', `cannot make ${this.#path}: ${why}`, { cause: error });
    }
    await chmod(this.#path, 0o600);
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
    const running = await requestControl(runDir, '/status', socketName).catch((error: unknown) => {
      if (error instanceof Failure && error.code === 'service.not-running') return null;
      return { pid: 'unknown' };
    });
    if (running === null) return;
    const { pid } = running as { pid?: unknown };
    throw new Failure('instance.running', `another tunnel-agent (process ${String(pid)}) runs with ${runDir}`);
  }

  async #answer({ method, url }: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      if (method !== 'GET' || url !== '/status') {
        response.writeHead(404).end();
        return;
      }
      const text = JSON.stringify(await this.#options.status());
      response.writeHead(200, { 'Content-Type': 'application/json' }).end(text);
    } catch (error) {
      this.#options.log.error({ err: error }, 'the status could not be told');
      response.writeHead(500).end();
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
