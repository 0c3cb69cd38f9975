import type { Notice } from '../config/resolve.ts';
import type { Config } from '../config/types.ts';
import type { Clock } from '../support/clock.ts';
import { type ProgramEnd, runProgram } from '../support/program.ts';
import type { Tools } from './tools.ts';

/** What is to be diagnosed, and with what. */
export interface Subject {
  /** Of this program. */
  readonly version: string;
  readonly settings: Settings;
  readonly options: DiagnoseOptions;
  readonly tools: Tools;
  readonly clock: Clock;
}

/** The configuration, and how sound it is. */
export interface Settings {
  /** What the service would run with now: the last one that worked, or the defaults, where the present one is broken. */
  readonly config: Config;
  /** Every fault of the present one, a line each, but for those of `identity`; empty where it is valid. */
  readonly faults: readonly string[];
  readonly identity: IdentityState;
  readonly notices: readonly Notice[];
  /** The configuration file that was looked for. */
  readonly file: string;
  readonly origin: 'file' | 'last-good' | 'deployed' | 'defaults';
  /** Whether this user may read that file; where not, nobody knows what the service runs with. */
  readonly isReadable: boolean;
}

/** What there is of an identity for a tunnel. */
export interface IdentityState {
  /** What keeps the service from starting, a line each: half an identity, or a token file that cannot be used. */
  readonly faults: readonly string[];
  /** The options that a tunnel cannot do without, as they are in the present configuration or the deployed files. */
  readonly set: readonly string[];
  readonly missing: readonly string[];
}

export interface DiagnoseOptions {
  /** Of the sshd that a technician reaches; null to find it. */
  readonly sshdConfig: string | null;
  readonly sshPort: number | null;
  /** Who logs in there. */
  readonly user: string | null;
  /** The address under which the operator reaches this device, or null where nobody gave it. */
  readonly publicAddress: { readonly host: string; readonly port: number } | null;
  /** Whether the other end may be dialled with the identity of this device: also while a session is held, only while none is, or not at all. */
  readonly dial: 'always' | 'without-session' | 'never';
  /** Whether anything may leave this machine. */
  readonly network: boolean;
}

export const DEFAULT_OPTIONS: DiagnoseOptions = {
  sshdConfig: null,
  sshPort: null,
  user: null,
  publicAddress: null,
  dial: 'without-session',
  network: true,
};

/** Something that several checks ask for, found out once a run. */
export type Probe<T> = (facts: Facts) => Promise<T>;

/** What a program printed is looked at only so far. */
const MAX_OUTPUT_BYTES = 1024 * 1024;
const PROGRAM_TIMEOUT_MS = 4_000;

/** What the checks of one run know in common. */
export class Facts {
  readonly version: string;
  readonly config: Config;
  readonly settings: Settings;
  readonly options: DiagnoseOptions;
  readonly tools: Tools;
  readonly clock: Clock;
  /** Ends whatever is under way; aborted at the end of the run. */
  readonly signal: AbortSignal;
  readonly #found = new Map<Probe<unknown>, Promise<unknown>>();

  constructor({ version, settings, options, tools, clock }: Subject, signal: AbortSignal) {
    this.version = version;
    this.config = settings.config;
    this.settings = settings;
    this.options = options;
    this.tools = tools;
    this.clock = clock;
    this.signal = signal;
  }

  /** What `probe` finds: it is called once a run, whoever asks first. Both its answer and its error are everybody's. */
  get<T>(probe: Probe<T>): Promise<T> {
    const known = this.#found.get(probe) as Promise<T> | undefined;
    if (known !== undefined) return known;
    const found = probe(this);
    found.catch(() => undefined); // whoever asked hears of it
    this.#found.set(probe, found);
    return found;
  }

  /** Runs a program without input; never longer than a check may take. */
  run(command: string, args: readonly string[], timeoutMs = PROGRAM_TIMEOUT_MS): Promise<ProgramEnd> {
    return runProgram({ command, args, timeoutMs, maxBytes: MAX_OUTPUT_BYTES, clock: this.clock, signal: this.signal });
  }

  /** Whether this process may read what belongs to others. */
  get isRoot(): boolean {
    return process.geteuid?.() === 0;
  }
}
