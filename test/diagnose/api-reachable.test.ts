import t from 'tap';
import { makeCertificate } from '../support/certificates.ts';
import { type Answer, API_TOKEN, BASE, json, text } from '../support/meeting-api.ts';
import { expectHealthy } from './machine.ts';
import { API_URL, expectApi, meetingServer, NEEDS, online, serve, socketServer, temporary } from './meeting-side.ts';

t.test('what stands in the place of the Meeting API', NEEDS, async (t) => {
  const device = await online(t, API_URL);
  const api = await meetingServer(t, device, 8080);
  await serve(device);
  /** Only the diagnosis is told another address: the service goes on with the right one. */
  const at = (url: string, env: Record<string, string> = {}) => device.diagnose([], { MEETING_API_URL: url, ...env });
  const answered = async (answer: Answer) => {
    api.answers.set(`GET ${BASE}`, answer);
    const found = await device.diagnose();
    api.answers.clear();
    return found;
  };

  await t.test('an error of the server (500)', async (t) => {
    const found = await answered(text(500, `<h1>Oops ${API_TOKEN}</h1>`, 'text/html'));
    expectApi(t, found, 'api.reachable', /fails: .*Oops \[secret\]/, /→ 500/);
  });

  await t.test('no JSON, other JSON, a page', async (t) => {
    expectApi(t, await answered(text(200, 'fine')), 'api.reachable', /is not the Meeting API: .*not JSON/);
    expectApi(t, await answered(json(200, { status: 'fine' })), 'api.reachable', /is not the Meeting API/);
    const portal = text(200, '<!DOCTYPE html><p>Welcome to the hotel', 'text/html');
    expectApi(t, await answered(portal), 'api.reachable', /is not the Meeting API: .*a page for people.*hotel/);
  });

  await t.test('a redirect', async (t) => {
    const redirect: Answer = (response) =>
      void response.writeHead(301, { location: `https://meeting.test/${API_TOKEN}` }).end();
    expectApi(
      t,
      await answered(redirect),
      'api.reachable',
      /points elsewhere.*https:\/\/meeting.test\/\[secret\]/,
      /→ 301/,
    );
  });

  await t.test('a wrong path', async (t) => {
    const found = await at(`${API_URL}/manager`);
    expectApi(t, found, 'api.reachable', /no Meeting API below/, /→ 404.*ssh-hostkey → 404/);
    expectHealthy(t, await at(`${API_URL}/api/`));
  });

  await t.test('an answer after 20 s, and none at all', async (t) => {
    let timer: NodeJS.Timeout | null = null;
    const late: Answer = (response) => {
      timer = setTimeout(() => response.end('{"authorized":true}'), 20_000);
    };
    await socketServer(t, device, 8081, () => undefined);
    const [found, silent] = await Promise.all([answered(late), at('http://127.0.0.1:8081')]);
    if (timer !== null) clearTimeout(timer);
    expectApi(t, found, 'api.reachable', /too slow, or silent: .*within 4 s.*waiting for the answer/);
    t.ok(found.check('api.reachable').durationMs < 5_900, 'within the time of a check');
    t.ok(found.report.durationMs < 15_000, 'within the time of the run');
    expectApi(t, silent, 'api.reachable', /too slow, or silent/);
  });

  await t.test('nothing listens, and a connection that is closed without a word', async (t) => {
    expectApi(t, await at('http://127.0.0.1:8082'), 'api.reachable', /Nothing listens.*ECONNREFUSED/);
    await socketServer(t, device, 8083, (socket) => socket.once('data', () => socket.destroy()));
    expectApi(t, await at('http://127.0.0.1:8083'), 'api.reachable', /closes the connection without an answer/);
  });

  await t.test('a name that nobody knows, one that leads to another machine, and no way there', async (t) => {
    expectApi(t, await at('http://meeting.test:8080'), 'api.reachable', /cannot be looked up: .*(ENOTFOUND|EAI_AGAIN)/);
    await device.write('/etc/hosts', '127.0.0.1 localhost raspi\n192.168.77.1 meeting.test\n');
    expectApi(t, await at('http://meeting.test:8080'), 'api.reachable', /Nothing listens/);
    await device.sh('ip route del default');
    expectApi(t, await at('http://203.0.113.9:8080'), 'api.reachable', /no way to the Meeting API: .*ENETUNREACH/);
    await device.sh('ip route add default via 192.168.77.1');
  });

  await t.test('TLS to a plain server, and the reverse', async (t) => {
    expectApi(t, await at('https://127.0.0.1:8080'), 'api.reachable', /speaks plain HTTP on this port/);
    const folder = temporary(t);
    await meetingServer(t, device, 8443, { tls: makeCertificate(folder, 'meeting.test') });
    expectApi(t, await at('http://127.0.0.1:8443'), 'api.reachable', /speaks TLS on this port/);
  });

  await t.test('certificates', async (t) => {
    const folder = temporary(t);
    await device.write('/etc/hosts', '127.0.0.1 localhost raspi meeting.test other.test\n');
    const [good, old] = [makeCertificate(folder, 'meeting.test'), makeCertificate(folder, 'old.test', -1)];
    await meetingServer(t, device, 8444, { tls: good });
    await meetingServer(t, device, 8445, { tls: old });
    const trusting = { MEETING_API_CA: good.path };
    expectHealthy(t, await at('https://meeting.test:8444', trusting));
    expectApi(t, await at('https://meeting.test:8444'), 'api.reachable', /cannot be trusted: .*self-signed/);
    expectApi(t, await at('https://other.test:8444', trusting), 'api.reachable', /for another name than other.test/);
    const expired = await at('https://meeting.test:8445', { MEETING_API_CA: old.path });
    expectApi(t, expired, 'api.reachable', /has expired/);
  });
});
