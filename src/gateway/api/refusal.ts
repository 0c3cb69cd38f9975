import { Failure, type FailureCode } from '../../support/failures.ts';

/**
 * Every `error` that the API answers, with its status. The words are what programs compare, so they never change; those
 * of the Meeting calls are the words of the deployed servers (wire 3).
 */
export const ERRORS = {
  'Invalid request': 400,
  'Invalid JSON': 400,
  'Invalid key': 400,
  'Invalid token': 400,
  'Missing service param': 400,
  'Missing relay port': 400,
  Unauthorized: 401,
  Forbidden: 403,
  'Device not authorized': 403,
  'Device missing token': 403,
  'Device not found': 404,
  'No public key': 404,
  'Port not blocked': 404,
  'Not found': 404,
  'Method not allowed': 405,
  'Device exists': 409,
  'Service not forwarded': 409,
  'Body too large': 413,
  'Unsupported media type': 415,
  'Too many requests': 429,
  'Internal error': 500,
  'Device offline': 503,
  'Device paused': 503,
  'No available port in range': 503,
  'Port taken': 503,
  'Store failed': 503,
} as const satisfies Record<string, number>;

export type ErrorWord = keyof typeof ERRORS;

/** What a failure of the gateway is called over REST. Any other is a fault of ours, told to the log alone. */
const WORDS: Partial<Record<FailureCode, ErrorWord>> = {
  'gateway.device-unknown': 'Device not found',
  'gateway.device-exists': 'Device exists',
  'gateway.device-offline': 'Device offline',
  'gateway.session-over': 'Device offline',
  'gateway.device-paused': 'Device paused',
  'gateway.not-authorized': 'Device not authorized',
  'gateway.no-token': 'Device missing token',
  'gateway.service-not-forwarded': 'Service not forwarded',
  'gateway.no-port': 'No available port in range',
  'gateway.port-taken': 'Port taken',
  'gateway.cannot-listen': 'Port taken',
  'gateway.store-failed': 'Store failed',
  'key.invalid': 'Invalid key',
};

/** A request that is declined. The sentence is sent: it never repeats a value of the request, which may be a secret. */
export class Refusal extends Error {
  readonly word: ErrorWord;
  /** Which field of the body, the query or the path is wrong. */
  readonly field: string | null;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    word: ErrorWord,
    sentence: string,
    { field = null, headers = {} }: { field?: string | null; headers?: Readonly<Record<string, string>> } = {},
  ) {
    super(sentence);
    this.word = word;
    this.field = field;
    this.headers = headers;
  }

  get status(): number {
    return ERRORS[this.word];
  }

  /** As it is sent. */
  get body(): { error: string; message: string; field?: string } {
    return { error: this.word, message: this.message, ...(this.field !== null && { field: this.field }) };
  }
}

/** What the sender is told of anything that was thrown; null where the program is at fault. */
export function asRefusal(error: unknown): Refusal | null {
  if (error instanceof Refusal) return error;
  if (error instanceof Failure) {
    const word = WORDS[error.code];
    if (word === undefined) return null;
    return new Refusal(word, error.message, { field: error.code === 'key.invalid' ? 'pubkey' : null });
  }
  // The router's own: a path that cannot be decoded.
  if (error instanceof URIError) return new Refusal('Invalid request', 'The path is not percent-encoded correctly');
  return null;
}
