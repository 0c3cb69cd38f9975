import t from 'tap';
import { documentOf } from '../../src/page/html.ts';
import { isNews } from '../../src/page/news.ts';
import type { PageStatus } from '../../src/page/page.ts';
import { viewOf } from '../../src/page/view.ts';
import { countdown, type Words } from '../../src/page/words.ts';
import { duration } from '../../src/support/duration.ts';
import { CAUSE, CONNECTED, COUNTING, DOWN, FAILURE, NEVER_PAIRED, statusWith, UNSERVED } from './support.ts';

const text = (words: Words) =>
  words
    .map((word) =>
      typeof word === 'string' ? word : word.count === 'up' ? duration(word.seconds) : countdown(word.seconds),
    )
    .join('');
const headline = (status: PageStatus) => {
  const { tone, words, lead, remedy, besides } = viewOf(status).headline;
  return { tone, words: text(words), text: [text(lead), remedy, text(besides)].filter(Boolean).join(' | ') };
};
const card = (status: PageStatus, title: string) => {
  const found = viewOf(status).cards.find((each) => each.title === title);
  const rows = Object.fromEntries((found?.rows ?? []).map(({ name, words }) => [name, text(words)]));
  return found && { tone: found.tone, state: text(found.state ?? []), rows, trouble: found.trouble };
};

const PIN = { policy: 'pin', tunnel: 'none', open: false, pinReady: true, opensInSeconds: 0 } as const;
const pin = (failuresLeft: number, set = true) => ({ set, failuresLeft, locked: failuresLeft === 0 });
const UNKNOWN = { tunnel: 'unknown', reason: 'it is not known whether a tunnel stands' } as const;
const refused = { ...FAILURE, code: 'proxy.handshake-refused', sentence: 'the proxy refused this device: "unknown"' };

const headlines: [string, PageStatus, string, string, RegExp][] = [
  ['paired and reachable', CONNECTED, 'ok', 'Paired and connected', /maintenance can reach the device\.$/],
  ['paired, no identity', statusWith({}, null), 'ok', 'Paired and connected', /is not set up/],
  [
    'paired, first attempt under way',
    statusWith({}, { state: 'connecting' }),
    'wait',
    'Paired, connecting for remote maintenance',
    /not ready yet/,
  ],
  ['a tunnel without a key', statusWith({ key: null }), 'wait', 'Connected, but not paired', /no paired key/],
  ['never paired', statusWith(NEVER_PAIRED), 'ready', 'Ready to pair', /asks first is paired\.$/],
  [
    'a key came',
    statusWith({ ...NEVER_PAIRED, key: CONNECTED.pairing.key }),
    'ready',
    'Key received, waiting for Home Assistant',
    /stays open/,
  ],
  [
    'the timeout has passed',
    statusWith({ ...COUNTING, open: true, opensInSeconds: 0 }),
    'ready',
    'Ready to pair again',
    /Its key works until/,
  ],
  [
    'the tunnel was lost',
    statusWith(COUNTING),
    'wait',
    'Paired, waiting for Home Assistant — pairing opens in 4:32',
    /connect again with its key/,
  ],
  [
    'the tunnel was lost, and the key',
    statusWith({ ...COUNTING, key: null }),
    'wait',
    'Waiting for Home Assistant — pairing opens in 4:32',
    /^Another one can pair/,
  ],
  [
    'no proxy, but paired',
    statusWith({}, DOWN),
    'bad',
    'Cannot reach the proxy',
    /ECONNREFUSED\)\. \| Check MEETING_PROXY_HOST .* \| Home Assistant is connected all the same\.$/,
  ],
  ['no proxy, and counting', statusWith(COUNTING, DOWN), 'bad', 'Cannot reach the proxy', /pairing opens in 4:32\.$/],
  ['no proxy, trying', statusWith({}, { ...DOWN, state: 'connecting' }), 'bad', 'Cannot reach the proxy', /ECONN/],
  ['no proxy, ready to pair', statusWith(NEVER_PAIRED, DOWN), 'ready', 'Ready to pair', /does not work, see below\.$/],
  [
    'refused',
    statusWith({}, { ...DOWN, lastFailure: refused }),
    'bad',
    'The proxy refuses this device',
    /^The proxy refused this device: "unknown"\. \|/,
  ],
  [
    'a failure of another kind',
    statusWith({}, { ...DOWN, lastFailure: { ...FAILURE, code: 'internal.unexpected' } }),
    'bad',
    'Remote maintenance does not work',
    /ECONN/,
  ],
  [
    'paused by an operator',
    statusWith({}, { ...DOWN, lastFailure: { ...FAILURE, code: 'operator.paused' } }),
    'bad',
    'An operator has paused remote maintenance',
    /ECONN/,
  ],
  [
    'no proxy, and the cause is known',
    { ...statusWith({}, DOWN), diagnosis: { ...CAUSE, summary: 'the cable is out', remedy: 'plug it in' } },
    'bad',
    'Cannot reach the proxy',
    /ECONNREFUSED\)\. The cause: The cable is out\. \| plug it in \|/,
  ],
  [
    'no proxy, and a cause that nobody can mend',
    { ...statusWith({}, DOWN), diagnosis: { ...CAUSE, remedy: null } },
    'bad',
    'Cannot reach the proxy',
    /The cause: No SSH server runs\. \| Check MEETING_PROXY_HOST/,
  ],
  [
    'a service that does not answer, and why',
    { ...statusWith({}, { localFailures: [UNSERVED] }), diagnosis: CAUSE },
    'bad',
    'Remote maintenance does not get through',
    /ECONNREFUSED\. The cause: No SSH server runs\. \| systemctl start ssh \| Home Assistant is connected/,
  ],
  [
    'a service that did not answer, and nobody knows whether it would now',
    statusWith({}, { localFailures: [UNSERVED] }),
    'ok',
    'Paired and connected',
    /can reach the device/,
  ],
  [
    'a service that did not answer, and does again',
    { ...statusWith({}, { localFailures: [UNSERVED] }), diagnosis: { ...CAUSE, over: true } },
    'ok',
    'Paired and connected',
    /can reach the device/,
  ],
  [
    'a service that does not answer, ready to pair',
    { ...statusWith(NEVER_PAIRED, { localFailures: [UNSERVED] }), diagnosis: CAUSE },
    'ready',
    'Ready to pair',
    /does not work, see below\.$/,
  ],
  [
    'no SSH gateway',
    statusWith({}, { ...DOWN, lastFailure: { ...FAILURE, code: 'ssh.timeout' } }),
    'bad',
    'Cannot reach the SSH gateway',
    /ECONN/,
  ],
  [
    'another gateway',
    statusWith({}, { ...DOWN, lastFailure: { ...FAILURE, code: 'ssh.host-key-changed' } }),
    'bad',
    'The SSH gateway is not the one that is expected',
    /ECONN/,
  ],
  [
    'locked, never paired',
    statusWith({ ...COUNTING, policy: 'locked', opensInSeconds: null, key: null }),
    'wait',
    'Pairing is locked',
    /pairing open$/,
  ],
  [
    'locked, key installed',
    statusWith({ ...COUNTING, policy: 'locked', opensInSeconds: null }),
    'wait',
    'Paired, waiting for Home Assistant',
    /locked.*pairing open$/,
  ],
  ['locked, paired', statusWith({ policy: 'locked' }), 'ok', 'Paired and connected', /is connected/],
  [
    'opened at the device',
    statusWith({ ...NEVER_PAIRED, policy: 'locked', openedLocally: { secondsLeft: 112 } }),
    'ready',
    'Ready to pair for another 1:52',
    /for one key/,
  ],
  ['PIN wanted', statusWith({ ...PIN, pin: pin(20) }), 'ready', 'Ready to pair with the PIN', /asks for the PIN/],
  [
    'PIN wanted, no proxy',
    statusWith({ ...PIN, pin: pin(20) }, DOWN),
    'ready',
    'Ready to pair with the PIN',
    /see below/,
  ],
  ['PIN locked', statusWith({ ...PIN, pin: pin(0) }), 'bad', 'The PIN is locked', /audit.*pairing pin$/],
  ['no PIN set', statusWith({ ...PIN, pin: pin(20, false) }), 'bad', 'No PIN is set', /agent pairing pin/],
  ['PIN not readable', statusWith({ ...PIN, pin: null }), 'bad', 'The PIN cannot be read', /state folder/],
  [
    'PIN, still counting',
    statusWith({ ...COUNTING, policy: 'pin', pin: pin(20) }),
    'wait',
    'Paired, waiting for Home Assistant — pairing opens in 4:32',
    /key/,
  ],
  [
    'no netstat',
    { ...statusWith(UNKNOWN), monitor: { kind: 'fault', sinceConnectedSeconds: 0 } },
    'bad',
    'Pairing is closed for safety',
    /nobody can pair/,
  ],
  [
    'just started',
    { ...statusWith(UNKNOWN), monitor: { kind: 'starting', sinceConnectedSeconds: 0 } },
    'wait',
    'Starting',
    /Pairing is closed until/,
  ],
];

for (const [when, status, tone, words, rest] of headlines) {
  t.test(`${when}: ${words}`, async (t) => {
    const shown = headline(status);
    t.match(shown, { tone, words });
    t.match(shown.text, rest);
    t.match(documentOf(viewOf(status)), `<title>${viewOf(status).headline.words[0]} · beamer-1</title>`);
  });
}

t.test('the cards of a paired device', async (t) => {
  t.match(card(CONNECTED, 'Pairing'), {
    state: 'Closed: a tunnel stands',
    rows: { 'Home Assistant': 'connected', 'Who may pair': 'anybody in this network' },
  });
  t.match(card(CONNECTED, 'Remote maintenance'), {
    tone: 'ok',
    state: 'Connected for 5 min 12 s',
    rows: { Proxy: 'proxy.example:9001', Encryption: 'TLS', 'In use by': '2 connections' },
    trouble: null,
  });
  t.match(card(CONNECTED, 'Paired key'), {
    tone: 'ok',
    rows: { Type: 'ssh-ed25519', Fingerprint: 'SHA256:qoN0lTxKD0m2BqTn0bXWJ6sVjm0l7s8mJZp4rX9yZ1A' },
  });
  t.match(card(CONNECTED, 'Device'), {
    rows: { Name: 'beamer-1', Model: 'Raspberry Pi 4', Version: '1.2.3', 'Running for': '3 d 4 h' },
  });
});

t.test('the device key is shown shortened: the whole is half of what the proxy asks for', async (t) => {
  t.equal(card(CONNECTED, 'Device')?.rows['Device key'], '3316a52e…');
  t.notMatch(documentOf(viewOf(CONNECTED)), CONNECTED.deviceKey ?? '');
  t.equal(card({ ...CONNECTED, deviceKey: null }, 'Device')?.rows['Device key'], undefined);
});

t.test('the failure of the tunnel stands once: on top, or in its card', async (t) => {
  const down = statusWith({}, DOWN);
  t.match(card(down, 'Remote maintenance'), {
    tone: 'bad',
    state: 'Not connected, next attempt in 0:12',
    trouble: null,
  });
  const open = card(statusWith(NEVER_PAIRED, DOWN), 'Remote maintenance');
  t.match(open, { tone: 'bad', trouble: { remedy: FAILURE.remedy } });
  t.equal(text(open?.trouble?.when ?? []), 'Last failure 5 s ago');
  const past = card(statusWith({}, { lastFailure: FAILURE }), 'Remote maintenance');
  t.match(past, { tone: 'ok', trouble: { sentence: `${FAILURE.sentence}.` } }, 'also when it is over');
});

t.test('the cause stands once: on top, or before what needs attention; afterwards among the notes', async (t) => {
  const troubles = (status: PageStatus) => {
    const { faults, notices } = viewOf(status);
    const shown = ({ when, sentence, remedy }: (typeof faults)[number]) => [text(when), sentence, remedy].join(' | ');
    return { faults: faults.map(shown), notices: notices.map(shown) };
  };
  const told = 'The cause, found 5 s ago | No SSH server runs. | systemctl start ssh';
  const inHeadline = { ...statusWith({}, DOWN), diagnosis: CAUSE };
  t.strictSame(troubles(inHeadline), { faults: [], notices: [] });
  const ofFault = { ...CONNECTED, diagnosis: CAUSE, faults: [{ sentence: 'port 5000 is taken', remedy: 'look' }] };
  t.strictSame(troubles(ofFault).faults, [told, ' | port 5000 is taken. | look']);
  t.strictSame(troubles({ ...statusWith(NEVER_PAIRED, DOWN), diagnosis: CAUSE }).faults, [told]);
  t.strictSame(troubles({ ...statusWith({}, DOWN), diagnosis: { ...CAUSE, over: true } }), {
    faults: [],
    notices: ['Over now, found 5 s ago | No SSH server runs. | systemctl start ssh'],
  });
  const failed = card(statusWith({}, { localFailures: [UNSERVED], lastFailure: FAILURE }), 'Remote maintenance');
  t.match(failed?.trouble, { sentence: /ECONNREFUSED\.$/, remedy: UNSERVED.remedy }, 'what failed last, in the card');
  const later = { ...CAUSE, agoMs: 7_000 };
  t.equal(isNews(viewOf(ofFault), viewOf({ ...ofFault, diagnosis: later }), 2), false, 'its age is no news');
  t.equal(isNews(viewOf(ofFault), viewOf({ ...ofFault, diagnosis: { ...later, over: true } }), 2), true);
});

t.test('what not every device has', async (t) => {
  t.match(card(statusWith({}, null), 'Remote maintenance'), { tone: 'plain', state: /^Not set up/, rows: {} });
  t.equal(card(CONNECTED, 'Meeting server'), undefined);
  const online = { state: 'online', lastHeartbeat: { agoMs: 61_000 } } as const;
  t.match(card({ ...CONNECTED, meetingApi: online }, 'Meeting server'), {
    tone: 'ok',
    state: 'Online, heard from 1 min 1 s ago',
  });
  const failing = { state: 'failing', lastHeartbeat: null } as const;
  t.match(card({ ...CONNECTED, meetingApi: failing }, 'Meeting server'), { tone: 'bad', state: /see above$/ });
  const announced = (...states: ('claiming' | 'announced' | 'failed')[]) => {
    const mdns = { name: 'beamer-2', interfaces: states.map((state) => ({ state })) };
    return card({ ...CONNECTED, mdns }, 'Device')?.rows.Announced;
  };
  t.equal(announced('failed', 'announced'), 'as beamer-2.local');
  t.equal(announced('claiming'), 'not yet');
  t.equal(announced('failed'), 'no');
  const ssh = statusWith(
    {},
    {
      transport: 'ssh',
      forwards: [
        { name: 'ssh', remotePort: 40_022 },
        { name: 'http', remotePort: 40_080 },
      ],
    },
  );
  t.strictSame(card(ssh, 'Remote maintenance')?.rows, {
    'SSH gateway': 'proxy.example:9001',
    'Ports there': '40022 (ssh), 40080 (http)',
    'In use by': '2 connections',
  });
  t.match(card(statusWith({ key: null }), 'Paired key'), { state: 'None yet' });
  t.match(card(statusWith({ key: { failure: 'it is a folder' } }), 'Paired key'), {
    tone: 'bad',
    state: /it is a folder/,
  });
  const opened = statusWith({ ...NEVER_PAIRED, policy: 'locked', openedLocally: { secondsLeft: 112 } });
  t.equal(card(opened, 'Pairing')?.rows['Who may pair'], 'anybody in this network, once');
  t.equal(
    card(statusWith({ policy: 'pin', pin: pin(12) }), 'Pairing')?.rows.PIN,
    'set; locked after 12 more wrong ones',
  );
  t.equal(card(statusWith({ policy: 'pin', pin: pin(19) }), 'Pairing')?.rows.PIN, 'set');
});

t.test('only what a browser cannot know by counting on is news', async (t) => {
  const at = (opensInSeconds: number, uptimeSeconds: number) =>
    viewOf({
      ...statusWith({ ...COUNTING, opensInSeconds }, { inStateMs: 0, state: 'connecting' }),
      monitor: null,
      uptimeSeconds,
    });
  t.equal(isNews(at(272, 1_000), at(262, 1_010), 10), false, 'time has passed');
  t.equal(isNews(at(272, 1_000), at(261, 1_011), 9.4), false, 'rounded to the other side');
  t.equal(isNews(at(272, 1_000), at(272, 1_010), 10), true, 'the countdown stood still');
  t.equal(isNews(at(262, 1_000), at(600, 1_001), 1), true, 'it began anew');
  t.equal(isNews(at(272, 1_000), at(262, 3), 10), true, 'the service was restarted');
  t.equal(isNews(viewOf(CONNECTED), viewOf(statusWith({}, { streams: 3 })), 1), true);
  t.equal(isNews(viewOf(CONNECTED), viewOf(statusWith({}, DOWN)), 1), true);
});

t.test('texts from outside show as themselves', async (t) => {
  const evil = `<img src=x onerror=alert(1)> & "quoted" 'single' \u202e\u0007größe`;
  const status: PageStatus = {
    ...statusWith(
      { reason: evil, key: { type: evil, fingerprint: evil } },
      {
        ...DOWN,
        proxy: { host: evil, port: 1, tls: false },
        lastFailure: { ...FAILURE, sentence: evil, remedy: evil },
      },
    ),
    hostname: evil,
    model: evil,
    version: evil,
    deviceKey: evil,
    mdns: { name: evil, interfaces: [{ state: 'announced' }] },
    diagnosis: { ...CAUSE, summary: evil, remedy: evil },
    faults: [{ sentence: evil, remedy: evil }],
    notices: [{ sentence: evil, remedy: evil }],
  };
  const open = { ...status, pairing: { ...status.pairing, ...NEVER_PAIRED, reason: evil } };
  const past = { ...status, diagnosis: { ...CAUSE, summary: evil, remedy: evil, over: true } };
  const html = [status, open, past].map((each) => documentOf(viewOf(each))).join('');
  t.notMatch(html, /<img/);
  t.notMatch(html, /[\u202e\u0007]/);
  t.ok(html.includes('&lt;img src=x onerror=alert(1)&gt; &amp; &quot;quoted&quot; &#39;single&#39; \ufffdgröße'));
});

t.test('what the page does not know of cannot get onto it', async (t) => {
  const secret = 'feed5ec2e7ab';
  const plant = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(plant);
    if (typeof value !== 'object' || value === null) return value;
    const planted = Object.entries(value).map(([name, each]) => [name, plant(each)]);
    return Object.fromEntries([...planted, ['token', secret], ['pinCode', secret], ['identity', { token: secret }]]);
  };
  const status = { ...statusWith(COUNTING, DOWN), diagnosis: CAUSE, faults: [FAILURE], notices: [FAILURE] };
  const planted = plant(status) as PageStatus;
  t.match(planted, { token: secret, pairing: { token: secret }, tunnel: { lastFailure: { token: secret } } });
  t.equal(documentOf(viewOf(planted)), documentOf(viewOf(status)));
});

t.test('the page is small and needs nothing else', async (t) => {
  const html = documentOf(viewOf(statusWith(COUNTING, DOWN)));
  t.ok(Buffer.byteLength(html) < 16 * 1024, `${Buffer.byteLength(html)} bytes`);
  const addresses = [...html.matchAll(/(?:src|href|url|action)\s*[=(]\s*["']?([^"')\s>]*)/g)].map(
    ([, address]) => address,
  );
  t.ok(
    addresses.every((address) => address === '/' || address?.startsWith('data:image/svg+xml,')),
    String(addresses),
  );
});
