import fc from 'fast-check';
import t from 'tap';
import { type CountEnd, establishedOn, parseNetstat } from '../../src/monitor/netstat.ts';
import { Failure } from '../../src/support/failures.ts';

const TITLE = 'Active Internet connections (w/o servers)\n';
const HEADER = `${TITLE}Proto Recv-Q Send-Q Local Address           Foreign Address         State      \n`;

const count = (text: string, port = 8007, end: CountEnd = 'local') =>
  establishedOn(parseNetstat(text), port, end).length;

t.test('net-tools: tcp6, cut addresses with their port kept, no space at the end', (t) => {
  const text = `${HEADER}tcp        0      0 192.168.1.20:22         192.168.1.5:51000       ESTABLISHED
tcp6       0      0 2001:db8:1234:5678:8007 2001:db8:1234:567:37592 ESTABLISHED
tcp6       0      0 192.168.1.20:8007       192.168.1.5:51002       ESTABLISHED
tcp6       0      0 ::1:8007                ::1:55910               TIME_WAIT
`;
  t.equal(count(text), 2);
  t.equal(count(text, 22), 1);
  t.match(parseNetstat(text)[1], { local: { address: '2001:db8:1234:5678', port: 8007 }, remote: { port: 37592 } });
  t.end();
});

t.test('BusyBox: tcp for IPv6 too, ::ffff: kept, columns shifted by long addresses, a space at the end', (t) => {
  const text = `${HEADER}tcp        0      0 ::ffff:10.1.2.3:8007    ::ffff:10.1.2.9:41282   ESTABLISHED 
tcp        0    236 2001:db8:1234:5678:9abc:def0:1234:5678:8007 2001:db8:1234:5678:9abc:def0:1234:5679:37592 ESTABLISHED 
tcp        0      0 ::1:8007                ::1:55910               ESTABLISHED 
`;
  t.equal(count(text), 3);
  t.match(parseNetstat(text)[0], { local: { address: '::ffff:10.1.2.3', port: 8007 }, state: 'ESTABLISHED' });
  t.end();
});

t.test('a connection of the diagnosis does not count, and nobody in the network can look like one', (t) => {
  const line = (local: string, remote: string) => `${HEADER}tcp 0 0 ${local} ${remote} ESTABLISHED\n`;
  const uncounted = [
    ['192.168.1.20:8007', '192.168.1.20:20480'],
    ['::ffff:192.168.1.20:8007', '::ffff:192.168.1.20:20735'],
    ['127.0.0.1:8007', '127.0.0.77:20500'],
    ['::1:8007', '::1:20500'],
    ['192.168.1.20:20480', '192.168.1.20:8007'],
  ] as const;
  for (const [local, remote] of uncounted) t.equal(count(line(local, remote), 8007, 'either'), 0, `${local} ${remote}`);
  const counted = [
    ['192.168.1.20:8007', '192.168.1.5:20480'],
    ['192.168.1.20:8007', '127.0.0.1:20480'],
    ['192.168.1.20:8007', '192.168.1.20:20479'],
    ['192.168.1.20:8007', '192.168.1.20:20736'],
    ['127.0.0.1:8007', '127.0.0.77:40000'],
  ] as const;
  for (const [local, remote] of counted) t.equal(count(line(local, remote)), 1, `${local} ${remote}`);
  t.end();
});

t.test('only the whole port counts, and only where it stands after the last colon', (t) => {
  const line = (local: string, remote = '10.0.0.9:40000') => `${HEADER}tcp 0 0 ${local} ${remote} ESTABLISHED\n`;
  t.equal(count(line('10.0.0.1:18007')), 0);
  t.equal(count(line('10.0.0.1:800')), 0);
  t.equal(count(line('2001:db8::8007:22')), 0);
  t.equal(count(line('::8007:22')), 0);
  t.equal(count(line('10.0.0.1:8007')), 1);
  t.end();
});

t.test('the local end counts by default; either end is a setting', (t) => {
  const text = `${HEADER}tcp 0 0 127.0.0.1:40000 127.0.0.1:8007 ESTABLISHED
tcp 0 0 127.0.0.1:8007 127.0.0.1:40000 ESTABLISHED
tcp 0 0 10.0.0.1:40001 10.0.0.2:8007 ESTABLISHED\n`;
  t.equal(count(text, 8007, 'local'), 1);
  t.equal(count(text, 8007, 'either'), 3);
  t.end();
});

t.test('no other state counts, and a listening socket has no remote port', (t) => {
  const states = ['LISTEN', 'SYN_SENT', 'SYN_RECV', 'FIN_WAIT1', 'FIN_WAIT2', 'CLOSE_WAIT', 'LAST_ACK', 'CLOSING'];
  const lines = states.map((state) => `tcp 0 0 10.0.0.1:8007 10.0.0.9:40000 ${state}\n`);
  t.equal(count(HEADER + lines.join('')), 0);
  const [listening] = parseNetstat(`${HEADER}tcp6 0 0 :::8007 :::* LISTEN\n`);
  t.strictSame(listening?.remote, { address: '::', port: null });
  t.end();
});

t.test('a header alone is "no connections"; connections without a header are connections', (t) => {
  t.strictSame(parseNetstat(HEADER), []);
  t.equal(count('tcp 0 0 10.0.0.1:8007 10.0.0.9:40000 ESTABLISHED'), 1);
  t.end();
});

t.test('lines of other protocols and remarks are passed over', (t) => {
  const text = `${HEADER}udp        0      0 10.0.0.1:8007           10.0.0.9:53             ESTABLISHED
unix  3      [ ]         STREAM     CONNECTED     12345
tcp 0 0 10.0.0.1:8007 10.0.0.9:40000 ESTABLISHED 1234/sshd keepalive (5.00/0/0)\n`;
  t.equal(count(text), 1);
  t.end();
});

t.test('what is no table, or holds a TCP line that cannot be read, is a failure and never "no connections"', (t) => {
  const bad = {
    empty: '',
    'white space': ' \n\n',
    rubbish: 'Segmentation fault',
    'a title alone': TITLE,
    'a usage text': 'Usage: netstat [-ral] [-tuwx] [-en]',
    'a line that was cut': `${HEADER}tcp        0      0 10.0.0.1:8007           10.0`,
    'a line without a state': `${HEADER}tcp 0 0 10.0.0.1:8007 10.0.0.9:40000`,
    'an end without a port': `${HEADER}tcp 0 0 10.0.0.1 10.0.0.9:40000 ESTABLISHED`,
    'a port by name': `${HEADER}tcp 0 0 10.0.0.1:ssh 10.0.0.9:40000 ESTABLISHED`,
    'a port too high': `${HEADER}tcp 0 0 10.0.0.1:65536 10.0.0.9:40000 ESTABLISHED`,
    'a queue that is no number': `${HEADER}tcp x 0 10.0.0.1:8007 10.0.0.9:40000 ESTABLISHED`,
  };
  for (const [what, text] of Object.entries(bad)) {
    t.throws(() => parseNetstat(text), { code: 'monitor.netstat-unreadable' }, what);
  }
  t.end();
});

const port = fc.integer({ min: 0, max: 65535 });
const address = fc.oneof(
  fc.ipV4(),
  fc.ipV6(),
  fc.ipV4().map((ip) => `::ffff:${ip}`),
);
const connection = fc.record({
  proto: fc.constantFrom('tcp', 'tcp6'),
  local: address,
  localPort: fc.oneof(port, fc.constantFrom(8007, 18007, 800)),
  remote: address,
  remotePort: fc.oneof(port, fc.constant(8007)),
  state: fc.constantFrom('ESTABLISHED', 'TIME_WAIT', 'LISTEN', 'FIN_WAIT1'),
  gap: fc.constantFrom(' ', '   ', '\t'),
  end: fc.constantFrom('\n', ' \n', '\r\n'),
});

t.test('property: every connection printed is read, whatever the widths and spaces', (t) => {
  fc.assert(
    fc.property(fc.array(connection), (connections) => {
      const lines = connections.map(
        ({ proto, local, localPort, remote, remotePort, state, gap, end }) =>
          [proto, 0, 0, `${local}:${localPort}`, `${remote}:${remotePort}`, state].join(gap) + end,
      );
      const established = connections.filter((one) => one.state === 'ESTABLISHED');
      const parsed = parseNetstat(HEADER + lines.join(''));
      return (
        parsed.length === connections.length &&
        establishedOn(parsed, 8007, 'local').length === established.filter((one) => one.localPort === 8007).length &&
        establishedOn(parsed, 8007, 'either').length ===
          established.filter((one) => one.localPort === 8007 || one.remotePort === 8007).length
      );
    }),
  );
  t.end();
});

t.test('property: any text gives connections or the one failure', (t) => {
  const anyText = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 500 }),
    fc
      .array(fc.constantFrom('tcp', 'tcp6', 'Proto', ' ', '\n', ':', '8007', '*', 'ESTABLISHED', '0'))
      .map((words) => words.join('')),
  );
  fc.assert(
    fc.property(anyText, (text) => {
      try {
        return Array.isArray(parseNetstat(text));
      } catch (error) {
        return error instanceof Failure && error.code === 'monitor.netstat-unreadable' && error.message.length < 700;
      }
    }),
    { numRuns: 500 },
  );
  t.end();
});
