import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { startAgentChild } from '../support/agent-child.ts';
import { FAR, network } from '../support/network.ts';
import { endChild } from '../support/processes.ts';
import { requires } from '../support/requires.ts';

function start(t: Test, command: string[]): ChildProcess & { stdout: NonNullable<ChildProcess['stdout']> } {
  const child = spawn(command[0] ?? '', command.slice(1), { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => endChild(child, 'SIGKILL'));
  return child;
}

t.test('a proxy that is gone without a word is noticed', requires('root', 'ip', 'namespaces'), async (t) => {
  const { inNear, inFar, cut, mend } = network(t);
  // In the agent's namespace: a service that sends a byte a second, so that there is data under way.
  const ticking = `require('node:net').createServer((socket) => {
      const timer = setInterval(() => socket.write('.'), 1000);
      socket.on('error', () => {}).on('close', () => clearInterval(timer)).resume();
    }).listen(7001, '127.0.0.1', () => console.log('ticking'));`;
  await once(start(t, [...inNear, process.execPath, '-e', ticking]).stdout, 'data');
  const proxyFile = fileURLToPath(new URL('../support/proxy-child.js', import.meta.url));
  const proxies = ['9001:legacy', '9002:legacy:7001', '9003:v1', '9004:v1:7001'];
  const proxyChild = start(t, [...inFar, process.execPath, proxyFile, FAR, ...proxies]);
  await once(proxyChild.stdout, 'data');
  const flowing = new Promise<void>((resolve) => {
    const seen = new Set<string>();
    proxyChild.stdout.on('data', (text: Buffer) => {
      for (const [port] of text.toString().matchAll(/(?<=data on )\d+/g)) seen.add(port);
      if (seen.size === 2) resolve();
    });
  });

  const names = { 'legacy, idle': 9001, 'legacy, with data under way': 9002, 'v1, idle': 9003, 'v1, with data': 9004 };
  const targets = Object.entries(names).map(([name, port]) => ({ name, port, host: FAR }));
  const child = startAgentChild(t, targets, { ticking: 7001 }, inNear);
  await Promise.all([flowing, ...targets.map(({ name }) => child.until(name, ({ state }) => state === 'up'))]);

  const cutAtMs = performance.now();
  cut();
  await Promise.all(
    targets.map(async ({ name }) => {
      const { lastFailure } = await child.until(name, ({ state }) => state === 'waiting');
      const seconds = (performance.now() - cutAtMs) / 1000;
      t.equal(lastFailure?.code, 'session.peer-dead', `${name}: ${lastFailure?.sentence}`);
      const limit = name.startsWith('v1') ? 26 : 45;
      t.ok(seconds < limit, `${name}: after ${seconds.toFixed(1)} s, of ${limit}`);
    }),
  );
  mend();
  await Promise.all(targets.map(({ name }) => child.until(name, ({ state }) => state === 'up')));
  t.pass('all are back');
});
