import { readFile, rm } from 'node:fs/promises';
import type { Cancel } from '../support/clock.ts';
import { asFailure, Failure } from '../support/failures.ts';
import { normalHostKey } from '../support/host-key.ts';
import { type ProgramRun, startProgram } from '../support/program.ts';
import { cleanText } from '../support/text.ts';
import { HOST_KEY_ALIAS, renderConfig } from './config.ts';
import { hostKeyFingerprint, readHostKey, storeHostKey } from './host-key.ts';
import { parseLine } from './log-lines.ts';
import { type Context, failureAfterUp, failureBeforeUp, overdue, type Progress, START, step } from './progress.ts';
import {
  argumentsFor,
  endLeftovers,
  openRunFolder,
  type RunFiles,
  removeRunFiles,
  spareKeyFile,
  writeRunFiles,
} from './run-folder.ts';
import type { SshEnd, SshEvents, SshOptions } from './types.ts';

/** Between asking ssh to end and making it. */
const STOP_GRACE_MS = 1_500;
/** An address that does not answer is ssh's to give up: it goes on to the next one then, of IPv4 after IPv6 perhaps. */
const CONNECT_SLACK_MS = 1_000;
/** A line of ssh that is looked at, and what is said around it. */
const LONGEST_SENTENCE = 1_000;

/**
 * One run of the system's ssh, from its start to its end. When the promise settles ssh has ended, and its files, the
 * configuration with the user's name among them, are gone.
 *
 * @param stop ends the run when aborted, within two seconds; where no session had come about, as one of 0 ms
 * @throws Failure (`ssh.*`) where no session came about
 */
export async function runSsh(options: SshOptions, events: SshEvents, stop: AbortSignal): Promise<SshEnd> {
  const { folder, hostKeys, clock } = options;
  const files = await openRunFolder(folder);
  await endLeftovers(files, clock);
  try {
    const demanded = hostKeys.kind === 'pinned' ? pinned(hostKeys.key) : await trusted(hostKeys.knownHostsFile, files);
    const config = renderConfig({ ...options, knownHosts: files.knownHosts, acceptNew: demanded === null });
    await writeRunFiles(files, config, demanded === null ? '' : `${HOST_KEY_ALIAS} ${demanded}\n`);
    if (stop.aborted) return { heldMs: 0, failure: null, reason: null };
    return await new Run(options, events, files, demanded).run(stop);
  } finally {
    await removeRunFiles(files).catch(() => undefined);
  }
}

/** The key of the first use: in its place, or in the spare one. */
async function trusted(path: string, files: RunFiles): Promise<string | null> {
  return (await readHostKey(path)) ?? (await readHostKey(spareKeyFile(files, path)));
}

function pinned(key: string): string {
  const normal = normalHostKey(key);
  if (normal === null) throw new Failure('ssh.unusable-value', 'the host key is not type and base64 of one key');
  return normal;
}

class Run {
  readonly #options: SshOptions;
  readonly #events: SshEvents;
  readonly #files: RunFiles;
  readonly #context: Context;
  /** The host key; null at first use. */
  readonly #demanded: string | null;
  #progress: Progress = START;
  #program: ProgramRun | null = null;
  #cancelDeadline: Cancel = () => undefined;
  #upAtMs: number | null = null;
  #failure: Failure | null = null;
  #working: Promise<void> = Promise.resolve();

  constructor(options: SshOptions, events: SshEvents, files: RunFiles, demanded: string | null) {
    const { host, port, identityFile, forwards } = options;
    this.#options = options;
    this.#events = events;
    this.#files = files;
    this.#demanded = demanded;
    const expected = demanded === null ? null : hostKeyFingerprint(demanded);
    this.#context = { host, port, identityFile, forwards, expected };
  }

  async run(stop: AbortSignal): Promise<SshEnd> {
    const { program, clock } = this.#options;
    this.#setDeadline();
    this.#program = startProgram({
      command: program,
      args: argumentsFor(this.#files),
      onLine: (line) => this.#line(line),
      clock,
    });
    const onAbort = () => this.#program?.stop(STOP_GRACE_MS);
    stop.addEventListener('abort', onAbort);
    const end = await this.#program.ended;
    const heldMs = this.#upAtMs === null ? 0 : clock.nowMs() - this.#upAtMs;
    stop.removeEventListener('abort', onAbort);
    this.#cancelDeadline();
    await this.#working;

    const reason = this.#progress.reason === null ? null : this.#told(this.#progress.reason);
    if (stop.aborted) return { heldMs, failure: null, reason };
    if (end.kind === 'missing') throw new Failure('ssh.missing', `the program ${program} is not installed`);
    const how = end.kind === 'failed' ? `could not be run: ${end.why}` : howEnded(end);
    const explain = this.#upAtMs === null ? failureBeforeUp : failureAfterUp;
    const { code, message } = this.#failure ?? explain(this.#progress, this.#context, how);
    const failure = new Failure(code, this.#told(message));
    if (this.#upAtMs === null) throw failure;
    return { heldMs, failure, reason };
  }

  /** Fit for a log and a terminal: ssh repeats the user's name, and a peer's words may do that and move the cursor. */
  #told(text: string): string {
    const { user, identityFile } = this.#options;
    return cleanText(identityFile === null ? text.replaceAll(user, '[secret]') : text, LONGEST_SENTENCE);
  }

  #line(line: string): void {
    this.#options.log.trace({ line: this.#told(line) }, 'ssh');
    const event = parseLine(line);
    if (event === null || this.#failure !== null) return;
    const before = this.#progress;
    this.#progress = step(before, event, this.#options.forwards);
    if (event.kind === 'target-failed') {
      this.#events.note('ssh.target-failed', this.#told(event.sentence), event.port ?? undefined);
    }
    if (event.kind === 'target-reached') this.#events.served?.(event.port);
    if (event.kind === 'connecting' || this.#progress.phase !== before.phase) this.#setDeadline();
    if (this.#progress.phase === 'up' && before.phase !== 'up') this.#working = this.#up();
  }

  /** Connecting may take its time for each address, the handshake may, and the forwards may; a session has no end. */
  #setDeadline(): void {
    const { clock, connectTimeoutMs } = this.#options;
    const { phase } = this.#progress;
    if (phase === 'greeted') return; // one deadline from the connection to the authentication
    this.#cancelDeadline();
    if (phase === 'up') return;
    const waitMs = connectTimeoutMs + (phase === 'connecting' ? CONNECT_SLACK_MS : 0);
    this.#cancelDeadline = clock.after(waitMs, () => {
      this.#end(overdue(this.#progress, this.#context, Math.round(connectTimeoutMs / 1000)));
    });
  }

  /** A peer that does not answer gets no time for a goodbye. */
  #end(failure: Failure): void {
    this.#failure ??= failure;
    this.#program?.stop(0);
  }

  async #up(): Promise<void> {
    const { forwards, clock } = this.#options;
    this.#upAtMs = clock.nowMs();
    await this.#storeKey();
    // ssh has read its files: what is not there cannot be found there, whatever becomes of this process.
    await removeRunFiles(this.#files).catch(() => undefined);
    const remotePorts = [...this.#progress.remotePorts];
    this.#events.up({
      forwards: forwards.map((forward) => ({
        forward,
        port: forward.kind === 'local' ? forward.listen.port : (remotePorts.shift() ?? 0),
      })),
      streams: () => this.#progress.streams.size,
    });
  }

  /**
   * Before anybody hears of the session: what was trusted once must be demanded ever after. Where that cannot be stored
   * the session goes on, since a device out of reach helps nobody, and the key is kept as long as the folder of the run.
   */
  async #storeKey(): Promise<void> {
    const { hostKeys } = this.#options;
    if (hostKeys.kind !== 'first-use') return;
    const { knownHostsFile } = hostKeys;
    const spareKey = spareKeyFile(this.#files, knownHostsFile);
    try {
      const shown = await readFile(this.#files.knownHosts, 'utf8');
      const key = this.#demanded ?? normalHostKey(shown.slice(HOST_KEY_ALIAS.length + 1));
      if (key === null) throw new Failure('ssh.failed', 'ssh has not written down the host key');
      if ((await readHostKey(knownHostsFile)) !== null) return;
      await storeHostKey(spareKey, key);
      await storeHostKey(knownHostsFile, key);
      await rm(spareKey);
    } catch (error) {
      const { code, message } = asFailure(error);
      this.#events.note(code, message);
    }
  }
}

function howEnded({ exitCode, signal }: { exitCode: number | null; signal: string | null }): string {
  return signal === null ? `ended with exit code ${exitCode}` : `was ended by ${signal}`;
}
