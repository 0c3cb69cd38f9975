import { once } from 'node:events';
import { startRawProxy } from './raw-proxy.ts';

/**
 * Proxies in a process of their own, for a network namespace. Arguments: the address to listen on, then for each
 * proxy its port and mode, and with `:PORT` behind the mode a stream to open to that port of every agent.
 */
const [host = '', ...specifications] = process.argv.slice(2);
const proxies = specifications.map(async (specification) => {
  const [port, mode, open] = specification.split(':');
  const proxy = await startRawProxy({ host, port: Number(port), mode: mode === 'v1' ? 'v1' : 'legacy' });
  if (open === undefined) return;
  for (;;) {
    const stream = (await proxy.nextAgent()).open(Number(open));
    await once(stream, 'data');
    process.stdout.write(`data on ${port}\n`);
    stream.resume();
  }
});
process.stdout.write('started\n');
await Promise.all(proxies);
