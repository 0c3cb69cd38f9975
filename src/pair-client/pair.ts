import { runSsh } from '../openssh/run.ts';
import type { Forward } from '../openssh/types.ts';
import { abortScope } from '../support/abort-scope.ts';
import { type Clock, pause } from '../support/clock.ts';
import { asFailure, Failure, type FailureCode } from '../support/failures.ts';
import { hostAndPort } from '../support/text.ts';
import { type Answer, infoOf, type PeerInfo, readyOf, takenOf, wordsOf } from './answers.ts';
import { askDevice } from './device-http.ts';
import { type PairEvent, type WaitingReason, withoutRepeats } from './events.ts';
import { Finder, type FinderOptions, type Place } from './finder.ts';
import { type Action, begin, type Outcome, step } from './flow.ts';
import { type Identity, prepareIdentity } from './identity.ts';
import { holdLock } from './lock.ts';
import { type Memory, memoryOf } from './memory.ts';
import { provePin } from './proof.ts';

export type LocalForward = Forward & { kind: 'local' };

export interface PairOptions extends FinderOptions {
  /** Absolute path of the private key; it is made where it is missing. What is remembered stands beside it. */
  identityFile: string;
  user: string;
  forwards: readonly LocalForward[];
  /** Pair where that is needed, check the key, and end. */
  once: boolean;
  /** Asked for when the device wants it; null where there is none. */
  pin: (signal: AbortSignal) => Promise<string | null>;
  /** For the files of ssh; see `SshOptions`. */
  runFolder: string;
  sshProgram: string;
  emit: (event: PairEvent) => void;
  clock: Clock;
  random: () => number;
}

/** For each address, and for the handshake: a Pi that is busy takes its time for the signatures. */
const SSH_TIMEOUT_MS = 15_000;

/** What ssh says here no other attempt would change. */
const HOPELESS: ReadonlySet<FailureCode> = new Set<FailureCode>([
  'ssh.missing',
  'ssh.identity-unusable',
  'ssh.unusable-value',
  'ssh.folder-unusable',
  'ssh.host-key-unreadable',
  'internal.unexpected',
]);

const RETRY_CODES: Partial<Record<Outcome['kind'], FailureCode>> = {
  'not-found': 'pair.not-found',
  'other-host-key': 'pair.not-found',
  'port-taken': 'pair.port-taken',
};

/**
 * Finds the device, pairs with it where that is needed, and holds the tunnel. Resolves when `signal` was aborted, or,
 * with `once`, when the device was seen to accept the key.
 * @throws Failure when waiting would be of no use (docs/pair-client.md, exit codes)
 */
export async function pair(options: PairOptions, signal: AbortSignal): Promise<void> {
  const { identityFile, target, once, runFolder, clock } = options;
  const lock = once ? null : await holdLock(runFolder);
  try {
    const identity = await prepareIdentity(identityFile, { clock, signal });
    await new Client(options, identity, memoryOf(identityFile, target), signal).run();
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    await lock?.release();
  }
}

class Client {
  readonly #options: PairOptions;
  readonly #identity: Identity;
  readonly #memory: Memory;
  readonly #signal: AbortSignal;
  readonly #emit: (event: PairEvent) => void;
  readonly #finder: Finder;
  #place: Place | null = null;
  #info: PeerInfo | null = null;
  /** Addresses of the device that did not answer since one did. */
  readonly #dead = new Set<string>();

  constructor(options: PairOptions, identity: Identity, memory: Memory, signal: AbortSignal) {
    this.#options = options;
    this.#identity = identity;
    this.#memory = memory;
    this.#signal = signal;
    this.#emit = withoutRepeats(options.emit, () => options.clock.nowMs());
    this.#finder = new Finder({ ...options, emit: this.#emit }, signal);
  }

  async run(): Promise<void> {
    const { once, random, clock } = this.#options;
    const { path, fingerprint, isNew, wasExposed } = this.#identity;
    this.#emit({ event: 'identity', file: path, fingerprint, made: isNew, protected: wasExposed });
    this.#finder.remembered = await this.#memory.deviceName();

    const known = isNew ? 'no' : (await this.#memory.isPinned()) ? 'yes' : 'perhaps';
    let { state, action } = begin(known, clock.nowMs());
    while (action.kind !== 'end') {
      const outcome = await this.#act(action);
      if (this.#signal.aborted) return;
      if (outcome.kind === 'no-answer') this.#dead.add(this.#address());
      if (outcome.kind === 'lost' || outcome.kind === 'taken') this.#dead.clear();
      ({ state, action } = step(state, outcome, { once, random, nowMs: clock.nowMs() }));
      if (action.kind === 'wait') this.#tellWait(outcome, Math.ceil(action.ms / 1000));
    }
    if (action.failure !== null) throw new Failure(action.failure.code, action.failure.sentence);
  }

  async #act(action: Exclude<Action, { kind: 'end' }>): Promise<Outcome> {
    switch (action.kind) {
      case 'find':
        return this.#find();
      case 'connect':
        return this.#connect();
      case 'ask':
        return this.#overHttp(() => this.#ask());
      case 'send':
        return this.#overHttp(() => this.#send());
      case 'prove':
        return this.#overHttp(() => this.#prove());
      case 'wait':
        await pause(this.#options.clock, action.ms, this.#signal);
        return { kind: 'waited' };
    }
  }

  async #find(): Promise<Outcome> {
    const found = await this.#finder.find();
    if ('why' in found) return { kind: 'not-found', why: found.why };
    this.#place = found;
    if (found.addresses.every((address) => this.#dead.has(address))) this.#dead.clear();
    const { name, tunnelPort, httpPort, model } = found;
    this.#emit({ event: 'found', name, address: this.#address(), tunnelPort, httpPort, model });
    return { kind: 'found' };
  }

  #at(): Place {
    if (this.#place === null) throw new Error('nothing was found yet');
    return this.#place;
  }

  /** The best one that may answer: a device may announce one that cannot be reached from here, or that it had before. */
  #address(): string {
    const { addresses } = this.#at();
    return addresses.find((address) => !this.#dead.has(address)) ?? addresses[0] ?? '';
  }

  /** Holds the tunnel for as long as it stands; with `once` just until it does. */
  async #connect(): Promise<Outcome> {
    const { once, user, runFolder, clock, forwards, sshProgram } = this.#options;
    const { tunnelPort } = this.#at();
    const address = this.#address();
    this.#emit({ event: 'connecting', address, tunnelPort });
    const firstUse = !(await this.#memory.isPinned());
    const { scope, release } = abortScope(this.#signal);
    let verified = false;
    const remembering: Promise<void>[] = [];
    const up = () => {
      this.#emit({ event: 'connected', address, tunnelPort, firstUse });
      remembering.push(this.#rememberDevice());
      if (once) {
        verified = true;
        return scope.abort();
      }
      for (const { listen, target } of forwards) {
        const [here, there] = [hostAndPort(listen.host, listen.port), hostAndPort(target.host, target.port)];
        this.#emit({ event: 'forward', listen: here, target: there });
      }
    };
    try {
      const end = await runSsh(
        {
          program: sshProgram,
          host: address,
          port: tunnelPort,
          user,
          identityFile: this.#identity.path,
          hostKeys: { kind: 'first-use', knownHostsFile: this.#memory.knownHostsFile },
          forwards: once ? [] : forwards,
          folder: runFolder,
          connectTimeoutMs: SSH_TIMEOUT_MS,
          log: this.#options.log,
          clock,
        },
        { up, note: (code, sentence) => this.#emit({ event: 'note', code, sentence }) },
        scope.signal,
      );
      await Promise.all(remembering);
      if (verified) {
        this.#emit({ event: 'verified' });
        return { kind: 'verified' };
      }
      const sentence = end.failure?.message ?? 'it was stopped';
      this.#emit({ event: 'lost', heldSeconds: Math.round(end.heldMs / 1000), sentence });
      return { kind: 'lost', heldMs: end.heldMs };
    } catch (error) {
      return this.#notConnected(asFailure(error));
    } finally {
      release();
    }
  }

  #notConnected({ code, message: why }: Failure): Outcome {
    if (code === 'ssh.auth-refused') {
      this.#emit({ event: 'refused', sentence: why });
      return { kind: 'refused', why };
    }
    if (code === 'ssh.host-key-changed') {
      return { kind: 'other-host-key', why: `${why} (${this.#memory.knownHostsFile})`, sought: this.#at().sought };
    }
    if (code === 'ssh.local-port') return { kind: 'port-taken', why };
    if (HOPELESS.has(code)) return { kind: 'hopeless', reason: { code, sentence: why } };
    return { kind: 'no-answer', why };
  }

  /** Trouble with that is not worth ending a tunnel for. */
  async #rememberDevice(): Promise<void> {
    const { name } = this.#at();
    if (name === null || name === (await this.#memory.deviceName())) return;
    this.#finder.remembered = name;
    await this.#memory.rememberDevice(name).catch((error: unknown) => {
      const { code, message } = asFailure(error);
      this.#emit({ event: 'note', code, sentence: message });
    });
  }

  async #ask(): Promise<Outcome> {
    const answer = await this.#http('GET', '/readytopair');
    const ready = readyOf(answer);
    if (ready === null) {
      return { kind: 'no-answer', why: `readytopair was answered as no device does: ${wordsOf(answer)}` };
    }
    if (ready) return { kind: 'open' };
    this.#info = infoOf(await this.#http('GET', '/info'));
    return { kind: 'closed', pin: this.#info?.policy === 'pin' && this.#info.pinReady };
  }

  async #send(): Promise<Outcome> {
    const outcome = takenOf(await this.#http('POST', '/setkey', { form: { key: this.#identity.publicLine } }));
    if (outcome.kind === 'taken') this.#emit({ event: 'paired', by: 'setkey' });
    return outcome;
  }

  async #prove(): Promise<Outcome> {
    const pin = await this.#options.pin(this.#signal);
    if (pin === null) return { kind: 'no-pin', why: `${this.#address()} wants its PIN, and none was given` };
    const post = (path: string, json: unknown) => this.#http('POST', path, { json });
    const outcome = await provePin(pin, this.#identity.publicLine, this.#memory, post);
    if (outcome.kind === 'taken') this.#emit({ event: 'paired', by: 'pin' });
    return outcome;
  }

  /** What has a name goes on as it is; anything else is a device that did not answer. */
  async #overHttp(exchange: () => Promise<Outcome>): Promise<Outcome> {
    try {
      return await exchange();
    } catch (error) {
      if (error instanceof Failure) throw error;
      const where = hostAndPort(this.#address(), this.#at().httpPort);
      return { kind: 'no-answer', why: `${where} did not answer: ${(error as Error).message}` };
    }
  }

  #http(
    method: 'GET' | 'POST',
    path: string,
    body?: { form?: Record<string, string>; json?: unknown },
  ): Promise<Answer> {
    const { httpPort: port, path: root } = this.#at();
    const { clock } = this.#options;
    return askDevice({ host: this.#address(), port, clock, signal: this.#signal }, method, `${root}${path}`, body);
  }

  /** Why nothing is done for `seconds`; the loss of a tunnel has been told already. */
  #tellWait(outcome: Outcome, seconds: number): void {
    const { version = null, policy = null } = this.#info ?? {};
    const reason = waitingReason(outcome, policy);
    if (reason !== null) this.#emit({ event: 'waiting', reason, seconds, version, policy });
    else if ('why' in outcome) {
      const code = RETRY_CODES[outcome.kind] ?? 'pair.no-answer';
      this.#emit({ event: 'retry', code, sentence: outcome.why, seconds });
    }
  }
}

function waitingReason({ kind }: Outcome, policy: string | null): WaitingReason | null {
  if (kind === 'refused') return 'overtaken';
  if (kind === 'busy') return 'busy';
  if (kind !== 'closed') return null;
  if (policy === 'locked') return 'locked';
  return policy === 'pin' ? 'pin-closed' : 'closed';
}
