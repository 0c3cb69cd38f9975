import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type RawAgent, type RawProxyOptions, startRawProxy } from '../support/raw-proxy.ts';
import { type Service, tunnelAgent } from '../support/service.ts';
import { until } from '../support/until.ts';
import { device, meeting, TOKEN, temporaryFolder, untilStatus } from './support.ts';

const escaped = [...TOKEN].map((c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`).join('');
const going = (agent: RawAgent) => {
  agent.accept('v1');
  agent.sendFrame('G', 0, Buffer.concat([Buffer.from([0, 0, 0, 1]), Buffer.from(`bye ${TOKEN}`)]));
  agent.sendFrame('R', 7, Buffer.concat([Buffer.from([0, 1]), Buffer.from(TOKEN)]));
  agent.socket.end();
};

/** What a proxy may say that has the token in it. */
const echoes: [string, NonNullable<RawProxyOptions['reply']>][] = [
  ['in "message"', `{"status":"error","message":"no device with token ${TOKEN}"}\n`],
  ['in "error"', `{"status":"error","error":"${TOKEN}"}\n`],
  ['in "reason"', `{"error":"auth_failed","reason":"${TOKEN} is revoked"}\n`],
  ['in escapes', `{"error":"${escaped}"}\n`],
  ['by sending the hello back', (agent) => agent.send(`${agent.hello}\n`)],
  ['in plain text', `who is ${TOKEN}?\n`],
  ['as the key of the device', `{"status":"authenticated","device_key":"${TOKEN}"}\n`],
  ['when it goes away', going],
];

for (const [how, reply] of echoes) {
  t.test(`a proxy that repeats the token ${how} does not get it into logs, status or arguments`, async (t) => {
    const proxy = await startProxy(t, { mode: 'v1', reply });
    const service = await device(t, { ...meeting(proxy), LOG_LEVEL: 'trace' });
    await untilStatus(service, ({ tunnel }) => (tunnel?.attempts ?? 0) > 1 || (tunnel?.sessions ?? 0) > 0);
    await nowhere(t, service);
  });
}

t.test('a token from a file is used, and shown nowhere', async (t) => {
  const folder = temporaryFolder(t);
  const tokenFile = join(folder, 'token');
  await writeFile(tokenFile, `${TOKEN}\n`, { mode: 0o600 });
  const proxy = await startProxy(t, { mode: 'v1' });
  const { MEETING_TOKEN: _, ...identity } = meeting(proxy);
  const service = await device(t, { ...identity, MEETING_TOKEN_FILE: tokenFile, LOG_LEVEL: 'trace' }, { folder });
  const { hello } = await proxy.nextAgent();
  t.strictSame(JSON.parse(hello), { token: TOKEN, name: identity.MEETING_DEVICE_KEY });
  t.notMatch(readFileSync(`/proc/${service.pid}/environ`, 'latin1'), TOKEN, 'not even in the environment');
  await nowhere(t, service);
});

t.test('a token in the configuration file is used, and shown nowhere', async (t) => {
  const folder = temporaryFolder(t);
  const proxy = await startProxy(t, { mode: 'legacy' });
  const { MEETING_TOKEN: _, ...identity } = meeting(proxy);
  await writeFile(join(folder, 'config.json'), JSON.stringify({ meeting: { token: TOKEN } }), { mode: 0o644 });
  const service = await device(t, { ...identity, LOG_LEVEL: 'trace' }, { folder });
  await proxy.nextAgent();
  await until('the warning about its mode', () => service.log().includes('config.exposed'));
  await nowhere(t, service, join(folder, 'config.json'));
});

async function startProxy(t: Test, options: RawProxyOptions) {
  const proxy = await startRawProxy(options);
  t.teardown(() => proxy.close());
  return proxy;
}

/** Asks all that can be asked, ends the service, and looks for the token. */
async function nowhere(t: Test, service: Service, config?: string): Promise<void> {
  const file = config === undefined ? [] : ['--config', config];
  const commands = [
    ['status', ...file],
    ['status', '--json', ...file],
    ['config', 'show', ...file],
    ['config', 'show', '--json', ...file],
    ['config', 'check', ...file],
  ];
  const outputs = await Promise.all(commands.map((command) => tunnelAgent(command, service.settings)));
  for (const [index, { code, stdout, stderr }] of outputs.entries()) {
    const name = String(commands[index]?.join(' '));
    t.equal(code, 0, `${name}: ${stderr}`);
    t.notMatch(stdout + stderr, TOKEN, name);
  }
  t.notMatch(readFileSync(`/proc/${service.pid}/cmdline`, 'latin1'), TOKEN, 'arguments');
  t.equal(await service.stop(), 0);
  t.match(service.log(), '"msg":"stopped"');
  t.notMatch(service.log(), TOKEN, 'log');
}
