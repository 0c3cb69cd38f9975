import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { get, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import t from 'tap';
import { OPTION_KEYS, type OptionKey, optionOf } from '../../src/config/options.ts';
import { device, temporaryFolder, untilStatus } from '../device/support.ts';
import { startRawProxy } from '../support/raw-proxy.ts';
import type { Service } from '../support/service.ts';

const secretOf = (key: OptionKey) => `5ec2e7${key.replace(/[^a-z]/gi, '')}`.toLowerCase();
const SECRETS = OPTION_KEYS.filter((key) => optionOf(key).secret('x'));

/** `{ 'a.b': 1 }` → `{ a: { b: 1 } }`. */
function nested(values: Record<string, unknown>): object {
  const file: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(values)) {
    const path = key.split('.');
    const name = path.pop() ?? '';
    let section = file;
    for (const part of path) {
      section[part] ??= {};
      section = section[part] as Record<string, unknown>;
    }
    section[name] = value;
  }
  return file;
}

/** What a browser is sent: the page, and the first event. */
async function everythingShown({ url, get: read }: Service): Promise<string> {
  const page = await read('/');
  const request = get(`${url}/events`, { agent: false });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  let text = '';
  for await (const chunk of response.setEncoding('utf8') as AsyncIterable<string>) {
    text += chunk;
    if (/data: .*\n\n/.test(text)) break;
  }
  return page + text;
}

t.test('a secret of the configuration is nowhere on the page, wherever it was written', async (t) => {
  t.strictSame([...SECRETS], ['meeting.token', 'meeting.tokenFile', 'ssh.token', 'ssh.tokenFile']);
  const folder = temporaryFolder(t);
  const token = secretOf('meeting.token');
  // This proxy repeats the token, and the page shows its words.
  const proxy = await startRawProxy({ mode: 'v1', reply: `{"status":"error","message":"no ${token} here"}\n` });
  t.teardown(() => proxy.close());
  const identity = {
    'meeting.deviceKey': '3316a52eb08837267bf6bd3e2b2e8dc7',
    'meeting.proxy.host': '127.0.0.1',
    'meeting.proxy.port': proxy.port,
  };
  const plain = SECRETS.filter((key) => !key.endsWith('File'));
  const config = join(folder, 'config.json');

  const secrets = Object.fromEntries(plain.map((key) => [key, secretOf(key)]));
  await writeFile(config, JSON.stringify(nested({ ...identity, ...secrets })), { mode: 0o600 });
  const service = await device(t, {}, { folder });
  await untilStatus(service, ({ tunnel }) => tunnel?.lastFailure !== null);
  const shown = await everythingShown(service);
  t.match(shown, 'no [secret] here', 'the words of the proxy are there');
  for (const key of SECRETS) t.notMatch(shown, secretOf(key), key);
  t.notMatch(shown, identity['meeting.deviceKey'], 'nor is the whole device key');
  await service.stop();

  // A token where the name of its file belongs: the file is refused, and the page shows the note of that.
  for (const key of SECRETS.filter((each) => !plain.includes(each))) {
    await writeFile(config, JSON.stringify(nested({ [key]: secretOf(key) })), { mode: 0o600 });
    const next = await device(t, {}, { folder });
    const shown = await everythingShown(next);
    t.match(shown, 'Notes', 'the last good configuration runs');
    for (const each of SECRETS) t.notMatch(shown, secretOf(each), `${each}, with ${key} broken`);
    await next.stop();
  }
});
