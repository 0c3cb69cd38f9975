import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import t from 'tap';
import { routes } from '../../../src/gateway/api/contract.ts';
import { errorsOf } from '../../../src/gateway/api/openapi.ts';
import { ERRORS, type ErrorWord } from '../../../src/gateway/api/refusal.ts';
import { temporaryFolder } from '../../device/support.ts';
import { run } from '../../support/processes.ts';
import { requires } from '../../support/requires.ts';
import { ADMIN_TOKEN, startApi } from './support.ts';

const PATH = resolve(import.meta.dirname, '../../../../docs/gateway-api.md');
const REGENERATE = process.env.ZEROFORCE_REGENERATE === '1';

const WHO = { anyone: 'anyone', device: 'device, operator', operator: 'operator' };
const callOf = ({ method, path }: { method: string; path: string }) => `${method.toUpperCase()} ${path}`;

const calls = [
  '| call | who | what it does |',
  '|---|---|---|',
  ...routes.map((route) => `| \`${callOf(route)}\` | ${WHO[route.who]} | ${route.summary.replaceAll('|', '\\|')} |`),
].join('\n');

/** What each means; the calls stand beside it where they are few. */
const MEANINGS: Record<ErrorWord, string> = {
  'Invalid request': 'a field, parameter or path is missing or wrong; `field` names it',
  'Invalid JSON': 'the body is no JSON, or was cut',
  'Invalid key': 'that is no SSH public key, or one that nobody should use',
  'Invalid token': 'the tunnel token is unknown, paused, not authorised or malformed',
  'Missing service param': 'neither `service` nor `type` names a service',
  'Missing relay port': 'a relay needs the port on the device',
  Unauthorized: 'no token, or a wrong one',
  Forbidden: 'the token of a device, for a call of the operator',
  'Device not authorized': 'authorize it first',
  'Device missing token': 'it has no token to connect with',
  'Device not found': 'there is no device with that key',
  'No public key': 'the gateway logs in to no device',
  'Port not blocked': 'it was released, or never taken',
  'Not found': 'there is no such address',
  'Method not allowed': '`Allow` says what is possible',
  'Device exists': 'the key or the token belongs to a device already',
  'Device paused': 'resume it first',
  'Service not forwarded': 'the device does not offer that service',
  'Body too large': 'more than 64 KiB',
  'Unsupported media type': 'not `application/json` in UTF-8, or packed',
  'Too many requests': '`Retry-After` says when',
  'Internal error': 'a fault of the gateway; its log tells why',
  'Device offline': 'it is not connected now',
  'No available port in range': 'the port range is full, or a device has its sixteen relays',
  'Port taken': 'other programs hold the free ports',
  'Store failed': 'the disk of the gateway fails; nothing was changed',
};

const errors = [
  '| error | status | meaning |',
  '|---|---|---|',
  ...(Object.keys(ERRORS) as ErrorWord[]).map((word) => `| \`${word}\` | ${ERRORS[word]} | ${MEANINGS[word]} |`),
].join('\n');

t.test('the tables of the page are those of the contract', async (t) => {
  let text = readFileSync(PATH, 'utf8');
  for (const [name, table] of Object.entries({ calls, errors })) {
    const block = `<!-- ${name} -->\n${table}\n<!-- /${name} -->`;
    const pattern = new RegExp(`<!-- ${name} -->[\\s\\S]*<!-- /${name} -->`);
    t.match(text, pattern);
    if (REGENERATE) text = text.replace(pattern, () => block);
    else t.ok(text.includes(block), `${name}; ZEROFORCE_REGENERATE=1 writes it anew`);
  }
  if (REGENERATE) writeFileSync(PATH, text);
  const used = new Set(routes.flatMap((route) => errorsOf(route)));
  const everywhere = ['Not found', 'Method not allowed', 'Internal error'];
  t.strictSame([...used, ...everywhere].sort(), Object.keys(ERRORS).sort(), 'every error belongs to a call');
});

t.test('the examples do what they say, in their order', { ...requires('curl', 'sh') }, async (t) => {
  const api = await startApi(t);
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, 'admin-token'), ADMIN_TOKEN);
  const blocks = [...readFileSync(PATH, 'utf8').matchAll(/```sh\n([\s\S]*?)```/g)].map(([, code = '']) => code);
  t.ok(blocks.length > 10, 'there are some');
  const script = blocks
    .join('\n')
    .replace('/var/lib/zeroforce-gateway/admin-token', join(folder, 'admin-token'))
    .replace(/GATEWAY=\S+/, `GATEWAY=http://127.0.0.1:${api.port}`)
    .replace('curl -fsS -K -', `sed 's,https://[^/]*,http://127.0.0.1:${api.port},' | curl -fsS -K -`);
  // The first blocks add the device; it connects, and stays as long as it is let.
  const connecting = setInterval(() => {
    const isThere = api.core.operations.devices().some(({ key }) => key === 'beamer-7');
    try {
      if (isThere && api.core.sessions.current('beamer-7') === null) api.connect('beamer-7');
    } catch {
      // not let in now
    }
  }, 5);
  t.teardown(() => clearInterval(connecting));
  const wait = 'sleep 0.1\n';
  const { code, stdout, stderr } = await run('sh', ['-eu', '-c', script.replaceAll(/^(gw|put) /gm, `${wait}$1 `)], {
    cwd: folder,
  });
  t.equal(code, 0, stderr);
  t.match(stdout, /"url":"ssh:\/\/gateway\.example\.org:\d+"/);
  t.match(readFileSync(join(folder, 'setup.sh'), 'utf8'), /^#!\/bin\/sh\n/);
  t.strictSame(
    api.core.operations.devices().map(({ key }) => key === 'beamer-7'),
    [false],
    'the last one removed it',
  );
  const asked = new Set(
    api.lines.filter(({ msg }) => msg === 'HTTP request').map(({ method, route }) => `${method} ${route}`),
  );
  t.ok(asked.size > 15, `${asked.size} different calls`);
});
