import { Transform, type TransformCallback } from 'node:stream';
import { type FinalResults, Parser, type Result, type TapError } from 'tap-parser';

/**
 * Reads the TAP of a whole run and writes what a person wants of it: a line a file as it ends, every failure with its
 * details, every skip with its reason, and last of all `N passed, N failed`.
 */
export default class TapReporter extends Transform {
  readonly #parser = new Parser({ flat: false });
  readonly #failures: string[] = [];
  readonly #skips: string[] = [];
  #passed = 0;

  constructor() {
    super();
    this.#parser.on('child', (file: Parser) => this.#readFile(file));
    this.#parser.on('bailout', (reason: string) => this.#failures.push(`the run was given up: ${reason}`));
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#parser.write(chunk);
    done();
  }

  override _flush(done: TransformCallback): void {
    this.#parser.once('complete', () => {
      for (const skip of this.#skips) this.push(`skipped: ${skip}\n`);
      for (const failure of this.#failures) this.push(`\nFAILED: ${failure}\n`);
      const skipped = this.#skips.length > 0 ? `, ${this.#skips.length} skipped` : '';
      this.push(`\n${this.#passed} passed, ${this.#failures.length} failed${skipped}\n`);
      done();
    });
    this.#parser.end();
  }

  #readFile(file: Parser): void {
    const failuresBefore = this.#failures.length;
    this.#readTests(file, [file.name.replace(/^build\//, '').replace(/\.js$/, '')]);
    file.on('complete', (results: FinalResults) => {
      // A file that died, timed out or planned other than it ran has failures that are no test's own.
      for (const failure of results.failures) {
        if ('tapError' in failure && typeof failure.tapError === 'string') {
          this.#failures.push(`${file.name}: ${failure.tapError}`);
        }
      }
      if (!results.ok && this.#failures.length === failuresBefore) this.#failures.push(`${file.name} ended badly`);
      const time = results.time === null ? '' : ` (${Math.round(results.time)} ms)`;
      this.push(`${results.ok ? 'ok    ' : 'not ok'} ${file.name}${time}\n`);
    });
  }

  /** Counts tests by their assertions: a subtest counts as what stands in it, so nothing is counted twice. */
  #readTests(parser: Parser, path: string[]): void {
    const subtests = new Set<string>();
    parser.on('child', (child: Parser) => {
      subtests.add(child.name);
      this.#readTests(child, [...path, child.name]);
    });
    parser.on('assert', (result: Result) => {
      const name = [...path, result.name].join(' > ');
      if (result.skip) this.#skips.push(`${name}: ${result.skip}`);
      else if (result.todo) this.#skips.push(`${name}: to do: ${result.todo}`);
      else if (!result.ok && !this.#failedInside(name)) this.#failures.push(`${name}${details(result)}`);
      else if (result.ok && !subtests.has(result.name)) this.#passed += 1;
    });
  }

  #failedInside(name: string): boolean {
    return this.#failures.some((failure) => failure.startsWith(`${name} > `));
  }
}

function details(result: Result | TapError): string {
  const diagnostics = 'diag' in result ? result.diag : null;
  return diagnostics ? `\n${JSON.stringify(diagnostics, null, 2)}` : '';
}
