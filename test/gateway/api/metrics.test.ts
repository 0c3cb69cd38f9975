import t from 'tap';
import { KEY, startApi, VERSION } from './support.ts';

/** Series to value. */
const seriesIn = (text: string) =>
  new Map(
    text
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line): [string, number] => {
        const at = line.lastIndexOf(' ');
        return [line.slice(0, at), Number(line.slice(at + 1))];
      }),
  );

t.test('metrics tell what stands and what was counted, for the operator alone', async (t) => {
  const api = await startApi(t);
  await api.addDevice();
  await api.addDevice('other', 'another long token');
  const session = api.connect(KEY, 'ssh');
  await api.core.host.forward(session, { name: 'ssh', localPort: 22 });
  await api.call(`POST /api/devices/${KEY}/service`, { body: { service: 'ssh' } });
  const first = await api.call('GET /metrics');
  t.match(first.headers['content-type'], /^text\/plain/);
  const series = seriesIn(first.text);
  const expected: [string, number][] = [
    [`build_info{version="${VERSION}"}`, 1],
    ['devices{state="online"}', 1],
    ['devices{state="offline"}', 0],
    ['devices{state="waiting_for_first_connect"}', 1],
    ['sessions{entry="agent"}', 0],
    ['sessions{entry="ssh"}', 1],
    ['tunnels', 1],
    ['ports{state="used"}', 1],
    ['ports{state="blocked"}', 0],
    ['ports{state="free"}', 99],
    ['sessions_started_total{entry="ssh"}', 1],
    ['sessions_ended_total{reason="shutdown"}', 0],
    ['connections_refused_total{entry="agent",reason="rate"}', 0],
    ['authentications_total{entry="ssh",outcome="accepted"}', 0],
    ['audit_dropped_entries_total', 0],
    ['http_requests_total{route="/api/devices/{key}/service",status="200"}', 1],
  ];
  for (const [name, value] of expected) t.equal(series.get(`zeroforce_gateway_${name}`), value, name);
  t.ok((series.get('zeroforce_gateway_memory_bytes{kind="rss"}') ?? 0) > 10e6);
  t.ok((series.get('zeroforce_gateway_event_loop_delay_seconds{quantile="0.99"}') ?? -1) >= 0);

  session.end('keepalive_timeout');
  const second = seriesIn((await api.call('GET /metrics')).text);
  t.equal(second.get('zeroforce_gateway_sessions_ended_total{reason="keepalive_timeout"}'), 1);
  t.equal(second.get('zeroforce_gateway_devices{state="offline"}'), 1);
  t.equal((await api.call('GET /metrics', { as: null })).status, 401);
  for (const name of second.keys()) t.notMatch(name, new RegExp(`${KEY}|other`), 'no device in a label');
  t.match(first.text, /# HELP zeroforce_gateway_ports .*\n# TYPE zeroforce_gateway_ports gauge/);
});

t.test('addresses that anybody invents make no series', async (t) => {
  const api = await startApi(t);
  for (let i = 0; i < 20; i += 1) await api.call(`GET /invented/${i}`, { as: null });
  const { text } = await api.call('GET /metrics');
  t.match(text, /http_requests_total\{route="none",status="404"\} 20/);
  t.notMatch(text, /invented/);
});
