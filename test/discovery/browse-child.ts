// Browses for as many milliseconds as told, and prints what is there at the end.
import { browse } from '../../src/discovery/browse.ts';
import { systemClock } from '../../src/support/clock.ts';
import { createLog } from '../../src/support/log.ts';

const found: string[] = [];
const devices = await browse({
  timeoutMs: Number(process.argv[2]),
  clock: systemClock,
  signal: new AbortController().signal,
  onFound: ({ name }) => void found.push(name),
  log: createLog('silent'),
});
for (const { name } of devices) if (!found.includes(name)) throw new Error(`${name} was not told when it was found`);
console.log(JSON.stringify(devices));
