import { Failure, type FailureCode } from '../support/failures.ts';
import { CHALLENGE_EVERY_MS } from './pin-challenges.ts';

/** A request that is refused: what the client gets to read, in the shape of every error (pairing: routes). */
export class Refusal extends Error {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, sentence: string, headers: Record<string, string> = {}) {
    super(sentence);
    this.name = 'Refusal';
    this.status = status;
    this.headers = headers;
  }
}

/** Known to every client in the field, to the letter. */
export const CLOSED = 'Not in pairing mode; refusing to change authorized key';

/** What a client reads of a failure of `Pairing`; without a sentence here, the failure's own. */
const MEANINGS: Partial<Record<FailureCode, { status: number; sentence?: string }>> = {
  'key.invalid': { status: 400 },
  'pairing.closed': { status: 403, sentence: CLOSED },
  'pairing.pin-missing': { status: 403, sentence: 'No PIN is set on this device; somebody there has to set one' },
  'pairing.pin-locked': {
    status: 403,
    sentence: 'The PIN is locked after too many wrong proofs; somebody at the device has to set a new one',
  },
  'pairing.pin-wrong': { status: 403 },
  'pairing.pin-challenge': { status: 403 },
};

export function tooMany(why: string, seconds: number): Refusal {
  return new Refusal(429, `${why}; try again in ${seconds} s`, { 'Retry-After': String(seconds) });
}

/**
 * What a failure means to the client: nothing of files and folders, for anybody may ask. Null for a fault of the program.
 * @param waitSeconds until a PIN of this source is checked again
 */
export function asRefusal(error: unknown, waitSeconds: number): Refusal | null {
  if (error instanceof Refusal) return error;
  if (!(error instanceof Failure)) return null;
  if (error.code === 'pairing.pin-busy') {
    return tooMany('The device is busy with other PINs', Math.max(waitSeconds, CHALLENGE_EVERY_MS / 1000));
  }
  const meaning = MEANINGS[error.code];
  if (meaning !== undefined) return new Refusal(meaning.status, meaning.sentence ?? error.message);
  return new Refusal(500, 'The key could not be stored; the old one is kept, and the log of the device tells why');
}
