import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { BrowserContextOptions, Page } from 'playwright-core';
import t, { type Test } from 'tap';
import { type PageStatus, StatusPage } from '../../src/page/page.ts';
import { countdown } from '../../src/page/words.ts';
import { systemClock } from '../../src/support/clock.ts';
import { duration } from '../../src/support/duration.ts';
import { device, meeting, openTunnel, setKey, temporaryFolder } from '../device/support.ts';
import { freshKeyLine } from '../support/public-keys.ts';
import { startRawProxy } from '../support/raw-proxy.ts';
import { requires } from '../support/requires.ts';
import { testLog } from '../support/test-log.ts';
import { until } from '../support/until.ts';
import {
  ANIMATIONS,
  GROUND,
  IS_NOTED_HEADLINE,
  LOWEST_CONTRAST,
  NOTE_HEADLINE,
  TOO_WIDE_BY,
  timesOf,
} from './in-page.ts';
import { CONNECTED, COUNTING, DOWN, FAILURE, NEVER_PAIRED, openBrowser, statusWith } from './support.ts';

const LONG = 'wohnzimmer-überwachungskamera-größe-ß-';
/** Everything that makes the page long and wide. */
const CROWDED: PageStatus = {
  ...statusWith(COUNTING, {
    ...DOWN,
    proxy: { host: `${'very-long-name-of-a-proxy.'.repeat(5)}example`, port: 9001, tls: true },
    lastFailure: { ...FAILURE, sentence: `${'x'.repeat(120)} ${FAILURE.sentence} `.repeat(4) },
  }),
  hostname: LONG.repeat(3),
  model: `Raspberry Pi ${LONG}`,
  mdns: { name: LONG.repeat(2), interfaces: [{ state: 'announced' }] },
  faults: [{ sentence: 'y'.repeat(200), remedy: FAILURE.remedy }],
  notices: [{ sentence: 'the last good configuration runs', remedy: 'Correct the configuration file: größe & <b>' }],
};

/** The page alone, of a status that the test chooses. */
async function startPage(t: Test, first: PageStatus) {
  const device = { status: first };
  const page = new StatusPage({
    status: async () => device.status,
    isOwnHost: () => true,
    tunnelSource: '127.0.0.77',
    clock: systemClock,
    log: testLog().log,
  });
  const server = createServer((req, res) => {
    const handler = page.routes[req.url ?? ''];
    if (handler === undefined) res.writeHead(404).end();
    else void handler(req, res, '127.0.0.1');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    page.stop();
    server.closeAllConnections();
    server.close();
  });
  return { device, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` };
}

const headline = (page: Page) => page.locator('h1').textContent();
async function untilHeadline(page: Page, wanted: RegExp): Promise<void> {
  try {
    await until(`the headline ${wanted}`, async () => wanted.test((await headline(page)) ?? ''));
  } catch (error) {
    throw new Error(`${(error as Error).message}; the page says: ${await page.locator('body').innerText()}`);
  }
}

/** What the browser had to complain about: violated policies and other errors, and requests to other places. */
function watch(page: Page, origin: string): string[] {
  const complaints: string[] = [];
  page.on('console', (message) => void complaints.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => void complaints.push(String(error)));
  page.on('request', (request) => {
    if (!request.url().startsWith(origin) && !request.url().startsWith('data:')) complaints.push(request.url());
  });
  return complaints;
}

t.test('in a real Chromium', requires('chromium'), async (t) => {
  const browser = await openBrowser(t, ['beamer.local']);
  const open = async (t: Test, url: string, options: BrowserContextOptions = {}) => {
    const context = await browser.newContext({ viewport: { width: 390, height: 844 }, ...options });
    t.teardown(() => context.close());
    const page = await context.newPage();
    const complaints = watch(page, new URL(url).origin);
    await page.goto(url);
    return { page, complaints };
  };

  await t.test('the page follows the real service: pairing, tunnels that come and go, a restart', async (t) => {
    const folder = temporaryFolder(t);
    let proxy = await startRawProxy({ mode: 'v1' });
    t.teardown(() => proxy.close());
    const { port } = proxy;
    const settings = { ...meeting(proxy), ZEROFORCE_PAIRING_TIMEOUT: '6' };
    const service = await device(t, settings, { folder });
    const { page, complaints } = await open(t, service.url.replace('127.0.0.1', 'beamer.local'));
    const body = page.locator('body');

    await untilHeadline(page, /^Ready to pair$/);
    await until('the tunnel', async () => (await body.innerText()).match(/Connected for \d+ s/));
    t.equal(await page.locator('#live').isVisible(), true);
    t.match(await page.title(), /^Ready to pair · /);

    await setKey(service, freshKeyLine());
    await untilHeadline(page, /^Key received, waiting for Home Assistant$/);
    t.match(await body.innerText(), /Fingerprint\s+SHA256:[A-Za-z0-9+/]{43}\n/);

    const tunnel = await openTunnel(t, service);
    await untilHeadline(page, /^Paired and connected$/);
    await proxy.close();
    await untilHeadline(page, /^Cannot reach the proxy$/);
    t.match(
      await body.innerText(),
      /ECONNREFUSED[\s\S]*What to do: Check MEETING_PROXY_HOST[\s\S]*connected all the same/,
    );
    proxy = await startRawProxy({ mode: 'v1', port });
    await untilHeadline(page, /^Paired and connected$/);

    await tunnel.close();
    await untilHeadline(page, /^Paired, waiting for Home Assistant — pairing opens in 0:0[3-6]$/);
    await untilHeadline(page, / pairing opens in 0:0[12]$/);
    await untilHeadline(page, /^Ready to pair again$/);
    t.strictSame(complaints, [], 'no error, no violation, nothing from elsewhere');

    await service.stop();
    await until('the page to say so', () => page.locator('#lost').isVisible());
    t.match(await page.locator('#lost').innerText(), /^No answer from the device\. .* is \d+ s old\.$/);
    t.equal(await page.locator('#live').isVisible(), false);
    await device(t, { ...settings, ZEROFORCE_HTTP_PORT: new URL(service.url).port }, { folder });
    await until('the page to come back', () => page.locator('#live').isVisible());
    await untilHeadline(page, /pairing opens in|again$/);
    t.equal(await page.locator('#lost').isVisible(), false);
  });

  await t.test('it is readable without JavaScript', async (t) => {
    const { url } = await startPage(t, statusWith(COUNTING, null));
    const { page, complaints } = await open(t, url, { javaScriptEnabled: false });
    t.equal(await headline(page), 'Paired, waiting for Home Assistant — pairing opens in 4:32');
    await page.getByRole('link', { name: 'Load it again' }).click();
    t.equal(await page.locator('#live').isVisible(), false, 'it does not claim to be live');
    t.strictSame(complaints, []);
  });

  await t.test('it fits into narrow windows, and is legible, in light and dark', async (t) => {
    const { url, device } = await startPage(t, CROWDED);
    const { page, complaints } = await open(t, url);
    const grounds = new Set<string>();
    for (const status of [CROWDED, CONNECTED, statusWith(NEVER_PAIRED, DOWN)]) {
      device.status = status;
      await untilHeadline(page, status === CROWDED ? /Cannot/ : status === CONNECTED ? /connected$/ : /Ready/);
      for (const colorScheme of ['light', 'dark'] as const) {
        await page.emulateMedia({ colorScheme });
        const lowest = await page.evaluate<{ ratio: number; text: string }>(LOWEST_CONTRAST);
        t.ok(lowest.ratio >= 4.5, `${colorScheme}: ${lowest.ratio} for ${lowest.text}`);
        grounds.add(await page.evaluate<string>(GROUND));
      }
      for (const width of [320, 390, 1280]) {
        await page.setViewportSize({ width, height: 800 });
        const beyond = await page.evaluate<number>(TOO_WIDE_BY);
        t.ok(beyond <= 0, `${beyond} px too wide at ${width}`);
      }
    }
    t.equal(grounds.size, 2, 'dark is another page than light');
    t.strictSame(complaints, []);
  });

  await t.test('names, umlauts and markup show as themselves', async (t) => {
    const { page } = await open(t, (await startPage(t, CROWDED)).url);
    t.equal(await page.locator('.name bdi').textContent(), LONG.repeat(3));
    t.match(await page.locator('#rest').innerText(), 'größe & <b>');
  });

  await t.test('landmarks, and states that are read out once, without their times', async (t) => {
    const { url, device } = await startPage(t, statusWith(COUNTING));
    const { page } = await open(t, url, { reducedMotion: 'reduce' });
    for (const role of ['banner', 'main', 'contentinfo'] as const) t.equal(await page.getByRole(role).count(), 1, role);
    t.equal(await page.getByRole('heading', { level: 1 }).count(), 1);
    t.equal(await page.getByRole('heading', { level: 2 }).count(), 4);
    t.equal(await page.locator('#state').getAttribute('aria-live'), 'polite');
    t.equal(await page.locator('h1 [role=timer]').count(), 1, 'a timer is not read out by itself');
    await until('live', () => page.locator('#live').isVisible());
    t.equal(await page.evaluate(ANIMATIONS), 0, 'nothing moves');

    await page.evaluate(NOTE_HEADLINE);
    device.status = statusWith({ ...COUNTING, opensInSeconds: 600 }, { streams: 7 });
    await untilHeadline(page, / (10:00|9:5\d)$/);
    t.match(await page.locator('#rest').innerText(), '7 connections');
    t.ok(await page.evaluate(IS_NOTED_HEADLINE), 'not replaced');
  });

  await t.test('times are written as the service writes them', async (t) => {
    const { page } = await open(t, (await startPage(t, CONNECTED)).url);
    const values = [0, 1, 59, 60, 61, 119, 120, 599, 3_599, 3_600, 3_661, 86_399, 86_400, 90_061, 31_536_000];
    type Times = { up: string[]; down: string[]; last: string };
    const texts = await page.evaluate<Times>(timesOf(values, 1_000_000));
    const passed = [...Array(60).keys()].find((seconds) => countdown(1_000_000 - seconds) === texts.last) ?? -1;
    t.ok(passed >= 0, texts.last);
    t.strictSame(
      texts.up,
      values.map((each) => duration(each + passed)),
    );
    t.strictSame(
      texts.down,
      values.map((each) => countdown(Math.max(0, each - passed))),
    );
  });
});
