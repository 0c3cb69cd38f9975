import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import t from 'tap';
import { requires } from '../support/requires.ts';
import { makeKey } from '../support/sshd.ts';
import { until } from '../support/until.ts';
import { device, hasFlag, isReady, nextOpening, openTunnel, setKey, temporaryFolder, watchPairing } from './support.ts';

const TIMEOUT_MS = 2_000;

/** Inside the service the wall clock jumps by 30 years, forth and back, many times a second. */
const JUMPING_CLOCK = `
const THIRTY_YEARS_MS = 30 * 365 * 86_400_000;
const RealDate = Date;
let offsetMs = 0;
setInterval(() => { offsetMs = offsetMs > 0 ? -THIRTY_YEARS_MS : THIRTY_YEARS_MS; }, 37).unref();
globalThis.Date = class extends RealDate {
  constructor(...args) { if (args.length === 0) super(RealDate.now() + offsetMs); else super(...args); }
  static now() { return RealDate.now() + offsetMs; }
};`;

t.test(
  'steps of the wall clock by years open pairing neither early nor late',
  requires('netstat', 'ssh-keygen'),
  async (t) => {
    const folder = temporaryFolder(t);
    const module = join(folder, 'jumping-clock.mjs');
    writeFileSync(module, JUMPING_CLOCK);
    const service = await device(
      t,
      {
        NODE_OPTIONS: `--import=${pathToFileURL(module)}`,
        ZEROFORCE_PAIRING_TIMEOUT: String(TIMEOUT_MS / 1000),
      },
      { folder },
    );
    const tunnel = await openTunnel(t, service);
    await until('the flag', () => hasFlag(service));
    await until('pairing to close', async () => !(await isReady(service)));
    const watch = watchPairing(t, service);
    await until('a hundred answers', () => watch.answers.no > 100);
    t.equal((await watch.stop()).yes, 0, 'closed while the tunnel stands');
    t.equal(readFileSync(join(folder, 'run', 'since-connected'), 'utf8'), '0\n');

    await tunnel.close();
    const { flagLastSeenMs, openedMs } = await nextOpening(service);
    t.ok(openedMs - flagLastSeenMs >= TIMEOUT_MS, `opened ${Math.round(openedMs - flagLastSeenMs)} ms after the loss`);
    t.ok(openedMs - flagLastSeenMs < TIMEOUT_MS + 5_000, 'and not much later');
    t.match(readFileSync(join(folder, 'run', 'since-connected'), 'utf8'), /^[0-7]\n$/, 'counted in monotonic seconds');

    for (const name of ['first', 'second']) {
      const { publicKey } = await makeKey(join(folder, name), name);
      t.equal((await setKey(service, publicKey)).status, 200, 'and nobody is told to come back in years');
    }
    const years = new Set([...service.log().matchAll(/"time":"[+-]?0*(\d{4})/g)].map(([, year]) => year));
    t.ok(years.size > 1, `the clock did jump: ${[...years].join(', ')}`);
  },
);
