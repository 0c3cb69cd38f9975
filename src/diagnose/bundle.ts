import type { LoadOptions } from '../config/load.ts';
import type { Subject } from './facts.ts';
import type { Report } from './report.ts';

export interface BundleOptions {
  readonly report: Report;
  /** The report as on the terminal, without colours. */
  readonly text: string;
  /** What the report was made with. */
  readonly subject: Subject;
  /** Where the configuration came from; its environment tells which secrets there are, too. */
  readonly source: LoadOptions;
  readonly signal: AbortSignal;
}

/**
 * To be called before the checks are made, so that nobody waits for them in vain.
 *
 * @throws Failure `diagnose.bundle-unwritable` where something stands at `path` already, or its folder is missing
 */
export async function checkBundlePath(_path: string): Promise<void> {}

/**
 * Writes one .tar.gz for support, mode 0600: the whole of it, or nothing.
 *
 * @throws Failure `diagnose.bundle-unwritable`
 */
export async function writeBundle(_path: string, _options: BundleOptions): Promise<void> {}
