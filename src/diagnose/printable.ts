import { stripVTControlCharacters } from 'node:util';
import { MASK } from '../config/secret.ts';
import type { Config } from '../config/types.ts';
import { cleanText } from '../support/text.ts';
import type { Outcome } from './check.ts';

const MAX_SENTENCE_CHARACTERS = 400;
const MAX_EVIDENCE_CHARACTERS = 2_000;
const MAX_EVIDENCE_LINES = 40;
/** What is shorter is no secret, and part of many words. */
const MIN_SECRET_CHARACTERS = 4;

/** Every secret of the configuration in every way it may be written, the longest first: one may begin as another does. */
export function secretsOf({ meeting, ssh, meetingApi }: Config): readonly string[] {
  const tokens = [meeting, ssh, meetingApi].flatMap((part) => (part === null ? [] : [part.token.reveal()]));
  const written = tokens.flatMap((token) => [token, JSON.stringify(token).slice(1, -1), encodeURIComponent(token)]);
  return [...new Set(written)]
    .filter(({ length }) => length >= MIN_SECRET_CHARACTERS)
    .toSorted((a, b) => b.length - a.length);
}

/**
 * An outcome fit for a terminal, a page and a bundle: without secrets and control characters, of bounded length.
 * Evidence keeps its lines; summary and remedy are one.
 */
export function printableOutcome({ status, summary, evidence, remedy }: Outcome, secrets: readonly string[]): Outcome {
  const known = (text: string) =>
    secrets.reduce((rest, secret) => rest.replaceAll(secret, MASK), stripVTControlCharacters(text));
  return {
    status,
    summary: cleanText(known(summary), MAX_SENTENCE_CHARACTERS),
    evidence: evidence === null ? null : cleanLines(known(evidence)),
    remedy: remedy === null ? null : cleanText(known(remedy), MAX_SENTENCE_CHARACTERS),
  };
}

function cleanLines(text: string): string | null {
  const lines = text
    .slice(0, MAX_EVIDENCE_CHARACTERS)
    .split('\n')
    .map((line) => cleanText(line, MAX_EVIDENCE_CHARACTERS))
    .filter((line) => line !== '');
  const isCut = text.length > MAX_EVIDENCE_CHARACTERS || lines.length > MAX_EVIDENCE_LINES;
  return lines.length === 0 ? null : `${lines.slice(0, MAX_EVIDENCE_LINES).join('\n')}${isCut ? '…' : ''}`;
}
