import type { Facts } from './facts.ts';
import type { CheckId } from './ids.ts';

/**
 * `warn`: works, and somebody should look at it. `skip`: not looked at, because there is nothing to look at, or because
 * another check failed first. `unknown`: could not be looked at; the remedy says what is needed to know.
 */
export type Status = 'ok' | 'warn' | 'fail' | 'skip' | 'unknown';

/**
 * Something that a check may find besides that all is well. The texts are templates: `{port}` stands for a value, and
 * appears as PORT in docs/field-guide.md, which is made from them.
 */
export interface Finding {
  readonly status: 'warn' | 'fail' | 'unknown';
  /** What somebody sees who does not know the cause yet. */
  readonly symptom: string;
  /** One sentence: what is the matter. It becomes the summary. */
  readonly meaning: string;
  /** The command to type or the line to edit, or null where there is nothing to do. */
  readonly remedy: string | null;
}

/** What a check says in the end. */
export interface Outcome {
  readonly status: Status;
  readonly summary: string;
  /** What was run or read, and what it said. Never a secret. */
  readonly evidence: string | null;
  readonly remedy: string | null;
}

/** One thing that can be right or wrong with a device. */
export interface Check {
  readonly id: CheckId;
  /** What is looked at, in a few words: `sshd greets its clients`. */
  readonly title: string;
  /** Where one of these has failed or was skipped, this one cannot be looked at, and is skipped. */
  readonly dependsOn: readonly CheckId[];
  /**
   * Where this one fails and one of these has failed, too, the other is the reason: this one then is told as skipped.
   * Unlike `dependsOn` it is looked at all the same, and their being skipped says nothing.
   */
  readonly explainedBy: readonly CheckId[];
  /** Whether it speaks with other machines; left out with --no-network. */
  readonly network: boolean;
  readonly findings: Readonly<Record<string, Finding>>;
  /** Looks, within `DEADLINE_MS`; `facts.signal` ends it early. Whatever it throws is told as `unknown`. */
  readonly run: (facts: Facts) => Promise<Outcome>;
}

/** How a check words its outcome. */
export interface Say<Name extends string> {
  ok(summary: string, evidence?: string | null): Outcome;
  /** There is nothing to look at on this device. */
  skip(summary: string, evidence?: string | null): Outcome;
  /** One of the check's findings; every `{name}` of its texts must be among `values`. */
  found(name: Name, values?: Readonly<Record<string, string | number>>, evidence?: string | null): Outcome;
}

interface Definition<Name extends string> {
  readonly id: CheckId;
  readonly title: string;
  readonly dependsOn?: readonly CheckId[];
  readonly explainedBy?: readonly CheckId[];
  readonly network?: boolean;
  readonly findings: Readonly<Record<Name, Finding>>;
  readonly run: (facts: Facts, say: Say<Name>) => Promise<Outcome> | Outcome;
}

/** Declares a check: its texts are data, `run` only says which of them applies. */
export function defineCheck<const Name extends string>(definition: Definition<Name>): Check {
  const { id, title, dependsOn = [], explainedBy = [], network = false, findings, run } = definition;
  const say: Say<Name> = {
    ok: (summary, evidence = null) => ({ status: 'ok', summary, evidence, remedy: null }),
    skip: (summary, evidence = null) => ({ status: 'skip', summary, evidence, remedy: null }),
    found(name, values = {}, evidence = null) {
      const { status, meaning, remedy } = findings[name];
      return {
        status,
        summary: fill(meaning, values),
        evidence,
        remedy: remedy === null ? null : fill(remedy, values),
      };
    },
  };
  return { id, title, dependsOn, explainedBy, network, findings, run: async (facts) => run(facts, say) };
}

/** Puts the values in the place of `{name}`. @throws Error where one is missing: a fault of the check */
export function fill(template: string, values: Readonly<Record<string, string | number>>): string {
  return template.replace(/\{([a-z][A-Za-z]*)\}/g, (_, name: string) => {
    const value = values[name];
    if (value === undefined) throw new Error(`no value for {${name}} in: ${template}`);
    return String(value);
  });
}
