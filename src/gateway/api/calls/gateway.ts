import type { GATEWAY_ROUTES } from '../contract/gateway.ts';
import { type Calls, Reply } from '../contract/route.ts';
import { describeApi } from '../openapi.ts';
import type { ApiParts } from '../parts.ts';
import { Refusal } from '../refusal.ts';
import { knownHostsName } from '../ssh-files.ts';
import { tunnelView } from '../views.ts';

export function gatewayCalls(parts: ApiParts): Calls<typeof GATEWAY_ROUTES> {
  const { operations, version, publicHost, sshPort, hostKey, draining, metrics } = parts;
  const description = describeApi(version);
  return {
    showApi: () => ({
      ...{ name: 'zeroforce-gateway', version, openapi: '/api/openapi.json', health: '/api/health' },
    }),
    showHealth: () =>
      draining() ? new Reply({ ok: false, status: 'draining' }, { status: 503 }) : { ok: true, status: 'ok' },
    showOpenApi: () => description,
    showMetrics: () => metrics.text(),
    showHostKey: () => `${knownHostsName(publicHost, sshPort)} ${hostKey}\n`,
    showPublicKey() {
      throw new Refusal('No public key', 'This gateway logs in to no device, so it has no key to be let in with');
    },
    showTunnels: () => ({ tunnels: operations.tunnels().map(tunnelView) }),
  };
}
