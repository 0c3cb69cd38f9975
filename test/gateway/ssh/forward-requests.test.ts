import fc from 'fast-check';
import t from 'tap';
import { decideForward, type ForwardDecision } from '../../../src/gateway/ssh/forward-requests.ts';
import type { Service } from '../../../src/gateway/types.ts';

const names = fc.uniqueArray(fc.stringMatching(/^[a-z]{1,6}$/), { minLength: 1, maxLength: 6 });
const services = (list: readonly string[]): Service[] => list.map((name) => ({ name, localPort: 1 }));

/** Ports of the services, in their order: 40000, 40001, …; only the first `assigned` have one. */
const portOf = (list: readonly string[], assigned: number) => (service: string) => {
  const index = list.indexOf(service);
  return index >= 0 && index < assigned ? 40_000 + index : null;
};

/** All requests of one connection, as a session goes through them. */
function decideAll(list: readonly string[], ports: readonly number[], assigned = list.length): ForwardDecision[] {
  const named = new Set<string>();
  return ports.map((port) => {
    const forwarding = { services: services(list), named, portOf: portOf(list, assigned) };
    const decision = decideForward({ address: 'localhost', port }, forwarding);
    if ('service' in decision) named.add(decision.service.name);
    return decision;
  });
}

const given = (decisions: readonly ForwardDecision[]) =>
  decisions.map((decision) => ('service' in decision ? decision.service.name : null));

t.test('the nth request for any port is the nth service, and one more is refused', async (t) => {
  fc.assert(
    fc.property(names, fc.nat(8), (list, count) => {
      const expected = Array.from({ length: count }, (_, index) => list[index] ?? null);
      t.strictSame(given(decideAll(list, Array(count).fill(0))), expected);
    }),
    { numRuns: 50 },
  );
  t.match(decideAll(['ssh'], [0, 0])[1], { refused: /has 1 services, and asked for one more/ });
});

t.test('a port by number is its own service, once, and nobody else’s', async (t) => {
  t.strictSame(given(decideAll(['ssh', 'http'], [40_001, 40_000])), ['http', 'ssh']);
  t.match(decideAll(['ssh'], [40_000, 40_000])[1], { refused: 'service ssh is forwarded already' });
  t.match(decideAll(['ssh'], [40_001])[0], { refused: 'port 40001 is not assigned to this device' });
  t.match(decideAll(['ssh'], [40_000], 0)[0], { refused: /not assigned/ }, 'before it ever had one');
});

t.test('by number and in order can be mixed: each takes what is left', async (t) => {
  t.strictSame(given(decideAll(['ssh', 'http', 'vnc'], [40_000, 0, 0])), ['ssh', 'http', 'vnc']);
  t.strictSame(given(decideAll(['ssh', 'http', 'vnc'], [40_001, 0, 0])), ['http', 'ssh', 'vnc']);
  t.strictSame(given(decideAll(['ssh', 'http'], [0, 40_000, 0])), ['ssh', null, 'http']);
});

t.test('whatever is asked: no service twice, no port of another, and every refusal says why', async (t) => {
  const port = fc.oneof(fc.constant(0), fc.integer({ min: 39_998, max: 40_008 }), fc.nat(2 ** 32 - 1));
  fc.assert(
    fc.property(names, fc.array(port, { maxLength: 20 }), fc.nat(6), (list, ports, assigned) => {
      const decisions = decideAll(list, ports, assigned);
      const granted = given(decisions).filter((name) => name !== null);
      t.equal(new Set(granted).size, granted.length);
      for (const [index, decision] of decisions.entries()) {
        if ('refused' in decision) t.ok(decision.refused.length > 10);
        else if (ports[index] !== 0) t.equal(portOf(list, assigned)(decision.service.name), ports[index]);
      }
    }),
  );
});
