import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Page } from 'playwright-core';
import t, { type Test } from 'tap';
import { device, isReady, setKey } from '../device/support.ts';
import { freshKeyLine } from '../support/public-keys.ts';
import { requires } from '../support/requires.ts';
import type { Service } from '../support/service.ts';
import { until } from '../support/until.ts';
import { openBrowser } from './support.ts';

/** The web server of somebody else. */
async function startAttacker(t: Test) {
  const server = createServer((_req, res) => {
    res.writeHead(200, { 'Content-Type': 'text/html', Connection: 'close' });
    res.end('<!doctype html><title>evil</title><body>You have won!');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  t.teardown(close);
  return { port: (server.address() as AddressInfo).port, close };
}

const keyFileOf = ({ settings }: Service) => readFileSync(settings.ZEROFORCE_AUTHORIZED_KEYS_FILE ?? '', 'utf8');
const refusals = (service: Service, words: string) => service.log().split(`refused: ${words}`).length - 1;
const FOREIGN = 'Pages from elsewhere may not pair';

/** In the page: submits a form, in this window or in that of a frame. */
const submitForm = (url: string, key: string, enctype: string) => `
  const form = document.body.appendChild(document.createElement('form'));
  Object.assign(form, { method: 'post', action: ${JSON.stringify(url)}, enctype: '${enctype}' });
  const field = form.appendChild(document.createElement('textarea'));
  Object.assign(field, { name: 'key', value: ${JSON.stringify(key)} });
  form.submit();`;
const postForm = (url: string, key: string, options = '') =>
  `fetch(${JSON.stringify(url)}, { method: 'POST', body: new URLSearchParams({ key: ${JSON.stringify(key)} }), ${options} })`;
/** What a request came to; `failed` where the browser keeps it from the page, or the device does not end its answer. */
const outcome = (request: string) => `(async () => {
  try {
    const answer = await ${request};
    const late = new Promise((_resolve, reject) => setTimeout(reject, 10_000));
    return answer.status + ' ' + answer.type + ' ' + (await Promise.race([answer.text(), late]));
  } catch {
    return 'failed';
  }
})()`;

t.test('a page of somebody else, open in a browser of the home network', requires('chromium'), async (t) => {
  const browser = await openBrowser(t, ['evil.test', 'beamer.local']);
  const attacker = await startAttacker(t);
  const service = await device(t, { LOG_LEVEL: 'debug' });
  await until('pairing to open', () => isReady(service));
  const installed = freshKeyLine('installed');
  await setKey(service, installed);
  const target = `${service.url}/zeroforce/setkey`;
  const evil = async (t: Test): Promise<Page> => {
    const page = await browser.newPage();
    t.teardown(() => page.close());
    await page.goto(`http://evil.test:${attacker.port}/`);
    return page;
  };
  /** Runs an attack, and sees that it reached the device, was refused, and changed nothing. */
  const refuses = async (t: Test, attack: () => Promise<unknown>, words = FOREIGN) => {
    const before = refusals(service, words);
    await attack();
    await until(`"${words}"`, () => refusals(service, words) > before);
    t.equal(keyFileOf(service), `${installed}\n`);
    t.ok(await isReady(service), 'pairing was open all the time');
  };

  for (const enctype of ['application/x-www-form-urlencoded', 'multipart/form-data', 'text/plain']) {
    await t.test(`cannot pair by a form as ${enctype}`, async (t) => {
      const page = await evil(t);
      await refuses(t, async () => {
        await page.evaluate(submitForm(target, freshKeyLine(), enctype));
        await page.waitForURL(target);
        t.match(await page.textContent('body'), FOREIGN);
      });
    });
  }

  await t.test('cannot pair by fetch, and reads nothing', async (t) => {
    const page = await evil(t);
    const key = freshKeyLine();
    const run = async (request: string) => t.match(await page.evaluate(outcome(request)), /^(failed|0 opaque $)/);
    await refuses(t, () => run(postForm(target, key, "mode: 'no-cors'")));
    await refuses(t, () => run(postForm(target, key, "mode: 'cors'")));
    await refuses(t, () => run(postForm(target, key, "mode: 'cors', credentials: 'include'")));
    await refuses(t, () =>
      page.evaluate(`navigator.sendBeacon(${JSON.stringify(target)}, new URLSearchParams({ key: '${key}' }))`),
    );
    const json = `fetch('${target}', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{"key":"${key}"}' })`;
    await refuses(t, () => run(json), 'OPTIONS is not possible here');
  });

  await t.test('cannot begin a proof of the PIN', async (t) => {
    const page = await evil(t);
    for (const route of ['challenge', 'setkey']) {
      const request = postForm(`${service.url}/zeroforce/pin/${route}`, freshKeyLine(), "mode: 'no-cors'");
      await refuses(t, () => page.evaluate(outcome(request)));
    }
  });

  await t.test('cannot pair from a frame without an origin', async (t) => {
    const page = await evil(t);
    const attempts = [
      submitForm(target, freshKeyLine(), 'application/x-www-form-urlencoded'),
      postForm(target, freshKeyLine(), "mode: 'no-cors'"),
    ];
    for (const attempt of attempts) {
      const frame = `const frame = document.createElement('iframe');
        frame.sandbox = 'allow-scripts allow-forms';
        frame.srcdoc = ${JSON.stringify(`<body><script>${attempt}</script>`)};
        document.body.append(frame);`;
      await refuses(t, () => page.evaluate(frame));
    }
  });

  await t.test('can neither frame nor read the status page, nor hold its events', async (t) => {
    const page = await evil(t);
    const said: string[] = [];
    page.on('console', (message) => void said.push(message.text()));
    await page.evaluate(
      `document.body.append(Object.assign(document.createElement('iframe'), { src: '${service.url}/' }))`,
    );
    await until('the frame to be refused', () => said.some((text) => text.includes('frame-ancestors')));
    t.notMatch(await page.frames()[1]?.content(), 'Pairing');
    for (const path of ['/', '/events', '/zeroforce/readytopair', '/zeroforce/info']) {
      for (const mode of ['cors', 'no-cors']) {
        t.equal(
          await page.evaluate(outcome(`fetch('${service.url}${path}', { mode: '${mode}' })`)),
          'failed',
          `${mode} ${path}`,
        );
      }
    }
    const source = `new Promise((resolve) => {
      const source = new EventSource('${service.url}/events');
      source.onmessage = () => resolve('read');
      source.onerror = () => resolve('refused');
    })`;
    t.equal(await page.evaluate(source), 'refused');
    const many = `Promise.allSettled(Array.from({ length: 40 }, () => fetch('${service.url}/events', { mode: 'no-cors' })))`;
    await page.evaluate(many);
    await until('room for a page of the device', async () => {
      const answer = await fetch(`${service.url}/events`);
      await answer.body?.cancel();
      return answer.status === 200;
    });
  });

  await t.test('can neither pair nor read under DNS rebinding', async (t) => {
    // The name of the page leads to the attacker first, then to the device: the same origin to the browser.
    const server = await startAttacker(t);
    const page = await browser.newPage();
    await page.goto(`http://evil.test:${server.port}/`);
    server.close();
    const rebound = await device(t, { ZEROFORCE_HTTP_PORT: String(server.port) });
    await until('pairing to open', () => isReady(rebound));
    const ask = (request: string) => page.evaluate<string>(outcome(request));
    t.equal(await ask("fetch('/zeroforce/readytopair')"), '200 basic true', 'the page does reach the device');

    for (const path of ['/', '/events']) t.match(await ask(`fetch('${path}')`), /^421 basic This device does not show/);
    await setKey(rebound, installed);
    const key = freshKeyLine();
    t.match(await ask(postForm('/zeroforce/setkey', key)), /^403 .*Pages from elsewhere may not pair/);
    t.match(await ask(postForm('/zeroforce/pin/challenge', key)), /^403 .*Pages from elsewhere may not pair/);
    await page.evaluate(submitForm('/zeroforce/setkey', key, 'application/x-www-form-urlencoded'));
    await page.waitForURL('**/setkey');
    t.match(await page.textContent('body'), FOREIGN);
    t.equal(keyFileOf(rebound), `${installed}\n`);

    // The same request from a page of the device succeeds: it is its origin that is refused, and nothing else.
    await page.goto(`http://beamer.local:${server.port}/`);
    t.equal(await ask(postForm('/zeroforce/setkey', key)), '200 basic {"ok":true}');
    t.equal(keyFileOf(rebound), `${key}\n`);
  });
});
