import { prove } from '../srp/client.ts';
import { GROUP, HASH } from '../srp/group.ts';
import { type Answer, busyOf, objectOf, takenOf, wordsOf } from './answers.ts';
import type { Outcome } from './flow.ts';
import type { Memory } from './memory.ts';

/** Posts JSON to a path below the device's, `/pin/challenge` for example. */
export type Post = (path: string, json: unknown) => Promise<Answer>;

/** What the device says to whoever may try again: pairing has closed; others have asked for too many challenges since. */
const CLOSED = /^Not in pairing mode/;
const OUTDATED = /^The challenge is unknown/;
/** What it says of the PIN itself. Everything else is about the device: no PIN is set, or it is locked. */
const WRONG = /^The proof of the PIN is wrong/;

/**
 * Proves the PIN without telling it, and hands over the key with the proof. A PIN that was found wrong is not tried
 * again, not after a restart either: 20 wrong ones lock the device until somebody goes there.
 * @throws Error when the device gives no answer to the question for a challenge; Failure `pair.state-unwritable`
 */
export async function provePin(pin: string, keyLine: string, memory: Memory, post: Post): Promise<Outcome> {
  const asked = await post('/pin/challenge', {});
  const challenge = challengeOf(asked);
  if (challenge === null) return refusedOf(asked);
  const { session, salt, B } = challenge;
  if (await memory.wasRefused(pin, salt)) {
    return wrong(
      `the device refused this PIN before, so it is not tried again (remembered in ${memory.refusedPinFile})`,
    );
  }

  const proof = await prove(pin, { salt, B }, keyLine);
  const { A, M1, mac } = proof;
  let answer: Answer;
  try {
    answer = await post('/pin/setkey', { session, A, M1, key: keyLine, mac });
  } catch (error) {
    return { kind: 'unclear', why: `the PIN was sent, and nothing came back: ${(error as Error).message}` };
  }
  const outcome = refusedOf(answer);
  if (outcome.kind === 'taken') {
    const { M2 } = objectOf(answer.body) ?? {};
    if (typeof M2 === 'string' && proof.accepts(M2)) return outcome;
    const sentence = 'what took the key could not prove that it knows the PIN, so the key is not used';
    return { kind: 'hopeless', reason: { code: 'pair.impostor', sentence } };
  }
  if (WRONG.test(wordsOf(answer))) await memory.rememberRefused(pin, salt);
  if (outcome.kind === 'no-answer' && answer.status !== 403) return { kind: 'unclear', why: outcome.why };
  return outcome;
}

function challengeOf(answer: Answer): { session: string; salt: string; B: string } | null {
  const { ok, session, group, hash, salt, B } = (answer.status === 200 && objectOf(answer.body)) || {};
  if (ok !== true || group !== GROUP || hash !== HASH) return null;
  return typeof session === 'string' && typeof salt === 'string' && typeof B === 'string' ? { session, salt, B } : null;
}

/** What a refused challenge or proof means. */
function refusedOf(answer: Answer): Outcome {
  if (answer.status === 429) return busyOf(answer);
  const words = wordsOf(answer);
  if (answer.status !== 403 || CLOSED.test(words)) return takenOf(answer);
  if (OUTDATED.test(words)) return { kind: 'no-answer', why: words };
  return wrong(`the device does not accept the PIN: ${words}`);
}

function wrong(sentence: string): Outcome {
  return { kind: 'hopeless', reason: { code: 'pair.pin-wrong', sentence } };
}
