import * as v from 'valibot';
import type { Schema } from './contract/route.ts';
import { Refusal } from './refusal.ts';

/**
 * The value as its schema has it. The sentence says what is wrong with the first field that is, and never what it holds.
 *
 * @param what `body` or `query`, named where no field can be
 * @throws Refusal 400
 */
export function checked<S extends Schema>(schema: S, value: unknown, what: string): v.InferOutput<S> {
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return result.output;
  const [issue] = result.issues;
  const field = v.getDotPath(issue);
  throw new Refusal('Invalid request', `${field ?? `The ${what}`} ${complaint(issue)}`, { field });
}

function complaint(issue: v.BaseIssue<unknown>): string {
  if (issue.kind === 'validation') return issue.message; // its own sentence, of the contract
  if (issue.expected === 'never') return 'is not known here';
  if (issue.input === undefined) return 'is missing';
  const { type } = issue;
  if (type === 'picklist') return `must be one of: ${(issue.expected ?? '').replaceAll(/["()]/g, '')}`;
  return `must be ${KINDS[type] ?? type}`;
}

const KINDS: Readonly<Record<string, string>> = {
  string: 'a text',
  number: 'a number',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object',
  strict_object: 'an object',
};
