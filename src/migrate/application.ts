import { request } from 'node:http';
import { dirname, join } from 'node:path';
import { readText } from './machine.ts';
import { type AppFacts, judgeApp, readSource, type SourceFacts, servesPairing } from './recognise.ts';

/** More than the applications of the field have. */
const MAX_FILES = 50;
const ANSWER_MS = 3_000;

/** The source of a Python program with all that it imports from its own folder; null where it cannot be read whole. */
export function sourceOf(path: string): Pick<SourceFacts, 'routes' | 'more'> | null {
  const routes: string[] = [];
  let more: string | null = null;
  const seen = new Set<string>();
  const open = [path];
  for (let file = open.pop(); file !== undefined; file = open.pop()) {
    if (seen.has(file)) continue;
    seen.add(file);
    const text = readText(file);
    if (text === null || seen.size > MAX_FILES) return null;
    const source = readSource(text);
    routes.push(...source.routes);
    more ??= source.more;
    for (const name of source.imports) {
      const places = [join(dirname(file), `${name}.py`), join(dirname(file), name, '__init__.py')];
      open.push(...places.filter((place) => readText(place) !== null));
    }
  }
  return { routes, more };
}

/** What a Python program is by its source alone; null where it serves nothing of pairing. */
export function judgeAt(
  path: string,
  running: Pick<AppFacts, 'exportedDevices' | 'ports'> = { exportedDevices: null, ports: [] },
): { role: 'pairing' | 'more' | 'usb'; why: string } | null {
  const source = sourceOf(path);
  const pairs = source !== null && servesPairing(source);
  return pairs ? judgeApp({ source, ...running }) : null;
}

/** The status that a local port answers `GET path` with; null where it does not answer HTTP in time. */
export function askStatus(port: number, path: string): Promise<{ status: number; body: string } | null> {
  return new Promise((resolve) => {
    const call = request({ host: '127.0.0.1', port, path, agent: false, timeout: ANSWER_MS }, (response) => {
      let body = '';
      const answer = () => {
        resolve({ status: response.statusCode ?? 0, body });
        call.destroy();
      };
      response.setEncoding('utf8').on('data', (text: string) => {
        body += text;
        if (body.length > 4096) answer();
      });
      response.on('end', answer).on('error', answer);
    });
    const deadline = setTimeout(() => call.destroy(new Error('too late')), ANSWER_MS);
    call.on('error', () => resolve(null));
    call.on('close', () => {
      clearTimeout(deadline);
      resolve(null);
    });
    call.end();
  });
}
