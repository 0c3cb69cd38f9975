import { setMaxListeners } from 'node:events';
import { access, constants, lstat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { createTar } from 'nanotar';
import { ConfigError, faultLine } from '../config/faults.ts';
import { type LoadOptions, loadConfig } from '../config/load.ts';
import { showConfig } from '../config/render.ts';
import { abortScope } from '../support/abort-scope.ts';
import { fileErrorReason, removeLeftovers, replaceFile } from '../support/atomic-file.ts';
import { Failure, systemCode } from '../support/failures.ts';
import { cleanText } from '../support/text.ts';
import { ITEMS, type Item } from './bundle/items.ts';
import { cut, type Entry, manifestText } from './bundle/manifest.ts';
import { Redactor } from './bundle/redact.ts';
import { knownSecrets } from './bundle/secrets.ts';
import { Facts, type Subject } from './facts.ts';
import { service } from './probes/service.ts';
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

/** For everything that is collected; what is not there by then is told as missing. */
const COLLECT_MS = 8_000;
/** Everything in the archive stands in this folder. */
const FOLDER = 'zeroforce-bundle';
/** Two empty blocks end an archive; those of nanotar may be missing. */
const END_OF_ARCHIVE = Buffer.alloc(1024);

/**
 * To be called before the checks are made, so that nobody waits for them in vain.
 *
 * @throws Failure `diagnose.bundle-unwritable` where something stands at `path` already, or its folder is missing
 */
export async function checkBundlePath(path: string): Promise<void> {
  const isFree = await lstat(path).then(
    () => false,
    (error: unknown) => {
      if (systemCode(error) === 'ENOENT') return true;
      throw unwritable(path, error);
    },
  );
  if (!isFree) throw new Failure('diagnose.bundle-unwritable', `${path} exists already and was left as it is`);
  try {
    await access(dirname(resolve(path)), constants.W_OK | constants.X_OK);
  } catch (error) {
    throw unwritable(path, error);
  }
}

/**
 * Writes one .tar.gz for support, mode 0600: the whole of it, or nothing.
 *
 * @throws Failure `diagnose.bundle-unwritable`; the signal's reason where that ended it
 */
export async function writeBundle(path: string, options: BundleOptions): Promise<void> {
  await checkBundlePath(path);
  try {
    const archive = await archiveOf(await collect(options));
    options.signal.throwIfAborted();
    await removeLeftovers(resolve(path));
    await replaceFile(resolve(path), archive, { mode: 0o600 });
  } catch (error) {
    options.signal.throwIfAborted();
    throw unwritable(path, error);
  }
}

function unwritable(path: string, cause: unknown): Failure {
  const reason = fileErrorReason(cause);
  return new Failure('diagnose.bundle-unwritable', `${path} could not be written: ${reason}`, { cause });
}

async function collect({ report, text, subject, source, signal }: BundleOptions): Promise<Entry[]> {
  const { clock, settings, version } = subject;
  const { scope, release } = abortScope(signal);
  const cancel = clock.after(COLLECT_MS, () => scope.abort(new Error('there was no time left')));
  try {
    setMaxListeners(0, scope.signal); // everything is asked at once
    const facts = new Facts(subject, scope.signal);
    // Without these nothing may be written.
    const redactor = new Redactor(await inTime(knownSecrets(facts, source), scope.signal));
    const json = (name: string, about: string, value: () => Promise<unknown>) =>
      jsonEntry(name, about, value, redactor);
    const reportText: Entry = {
      name: 'report.txt',
      about: 'what diagnose found, for people',
      text: redactor.text(text),
      lacks: [],
    };
    const collected = await Promise.all([
      json('report.json', 'the same for programs', async () => report),
      json('configuration.json', 'every setting, and where it comes from', () =>
        configuration(source, settings.faults),
      ),
      json('status.json', 'what the running service says', async () => {
        const { status, failure } = await facts.get(service);
        if (failure !== null) throw failure;
        return status;
      }),
      ...ITEMS.map((item) => textEntry(item, facts, redactor)),
    ]);
    const entries = [reportText, ...collected];
    const about = { device: report.device, version, writtenAt: new Date().toISOString(), isRoot: facts.isRoot };
    const manifest = redactor.text(manifestText(entries, about));
    return [{ name: 'MANIFEST.txt', about: '', text: manifest, lacks: [] }, ...entries];
  } finally {
    cancel();
    release();
    scope.abort(new Error('the bundle is written'));
  }
}

/** As `config show --json` prints it, and what is wrong with it. */
async function configuration(source: LoadOptions, faults: readonly string[]): Promise<unknown> {
  try {
    return { faults, ...showConfig(await loadConfig(source)) };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { faults: error.faults.map(faultLine), settings: 'none: there is no configuration that works' };
  }
}

async function jsonEntry(
  name: string,
  about: string,
  value: () => Promise<unknown>,
  redactor: Redactor,
): Promise<Entry> {
  try {
    // Whatever has a form of its own in JSON takes that first: a Secret shows itself nowhere else.
    const plain: unknown = JSON.parse(JSON.stringify(await value()));
    return { name, about, text: `${JSON.stringify(redactor.json(plain), null, 2)}\n`, lacks: [] };
  } catch (error) {
    return { name, about, text: '', lacks: [cleanText(error instanceof Error ? error.message : String(error))] };
  }
}

async function textEntry(
  { name, about, parts, keep, maxBytes }: Item,
  facts: Facts,
  redactor: Redactor,
): Promise<Entry> {
  let text = '';
  const lacks: string[] = [];
  const partBytes = Math.ceil(maxBytes / 2);
  for (const part of parts) {
    const piece = await inTime(part(facts), facts.signal).catch((error: unknown) => ({
      title: 'a part',
      reason: cleanText(error instanceof Error ? error.message : String(error)),
    }));
    if ('reason' in piece) lacks.push(`${piece.title}: ${piece.reason}`);
    // Cut after the secrets are out: half of one is no longer recognised.
    else text += `== ${piece.title}\n${cut(redactor.text(piece.text).trimEnd(), partBytes, keep)}\n\n`;
  }
  return { name, about, text: redactor.text(cut(text, maxBytes, keep)), lacks };
}

/** A file of a network that is gone may never come. */
function inTime<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const late = () => reject(new Error('there was no time left'));
    if (signal.aborted) return late();
    signal.addEventListener('abort', late);
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', late));
  });
}

async function archiveOf(entries: readonly Entry[]): Promise<Buffer> {
  const files = entries
    .filter(({ text }) => text !== '')
    .map(({ name, text }) => ({ name: `${FOLDER}/${name}`, data: Buffer.from(text) }));
  const tar = createTar(files, { attrs: { mode: '600', uid: 0, gid: 0 } });
  return promisify(gzip)(Buffer.concat([tar, END_OF_ARCHIVE]));
}
