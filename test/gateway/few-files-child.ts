import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { PortPool } from '../../src/gateway/port-pool.ts';
import { PublicPorts } from '../../src/gateway/public-ports.ts';
import { systemClock } from '../../src/support/clock.ts';
import { asFailure } from '../../src/support/failures.ts';
import { createLog } from '../../src/support/log.ts';
import { come, RANGE, storeOf } from './ports-bench.ts';

/** Public ports in a process that may open few files. Tells what it does in lines of JSON; a line lets it go on. */

export const fewFilesChild = fileURLToPath(import.meta.url);

async function main(bindHost: string): Promise<void> {
  const nobody = { leaseMs: 1_000, log: createLog('silent'), audit: () => {} };
  const pool = new PortPool({ start: RANGE.start, end: RANGE.start + 199 });
  const ports = new PublicPorts({
    ...nobody,
    pool,
    store: storeOf('a'),
    bindHost,
    clock: systemClock,
    nowMs: Date.now,
  });
  const session = come(ports, 'a');
  const tell = (facts: object) => console.log(JSON.stringify(facts));
  const lines = createInterface(process.stdin)[Symbol.asyncIterator]();
  await lines.next(); // standard input is open from here
  const service = (index: number) => ({ name: `s${index}`, localPort: 1 + index });

  for (let index = 0; index < 200; index += 1) {
    try {
      await ports.forward(session, service(index));
    } catch (error) {
      const { code, message } = asFailure(error);
      tell({ opened: index, code, message, assigned: ports.portOf('a', service(index).name) });
      break;
    }
  }
  await lines.next();
  for (let index = 0; index < 10; index += 1) ports.cancelForward(session, service(index));
  tell({ port: await ports.forward(session, service(0)) });
  await lines.next();
  await ports.stop();
  process.exit();
}

if (process.argv[1] === fewFilesChild) await main(process.argv[2] ?? '');
