import { type Device, localPortOf } from '../../types.ts';
import { type Calls, Reply } from '../contract/route.ts';
import type { TUNNEL_ROUTES } from '../contract/tunnel.ts';
import type { ApiParts } from '../parts.ts';
import { Refusal } from '../refusal.ts';
import { SetupLimit } from '../setup-limit.ts';
import { setupScript } from '../setup-script.ts';
import { AUTOSSH_COMMAND, knownHostsText, type SetupFacts, sshConfigText, systemdUnitText } from '../ssh-files.ts';
import { auditView, blockedView, isoTime, isoTimeOrNull, overviewItem, servicesView, sessionView } from '../views.ts';
import { forwardsOf, wantedForwards } from './forwards.ts';

const LOGS_MAX = 200;
const MINUTE_MS = 60_000;

export function tunnelCalls(parts: ApiParts): Calls<typeof TUNNEL_ROUTES> {
  const { operations, publicHost, sshPort, hostKey, baseUrl, clock, nowMs } = parts;
  const limit = new SetupLimit(clock);

  /** With the forwards in the order of the services, which is how the SSH entry knows them. */
  function setupFacts(device: Device, token: string): SetupFacts {
    const forwards = device.services.map((spec) => ({ name: spec.name, localPort: localPortOf(spec, 'ssh') }));
    return { token, host: publicHost, port: sshPort, hostKey, forwards };
  }

  return {
    makeToken: async ({ params, query }) => ({
      token: await operations.tunnelToken(params.key, { rotate: query.rotate === 'true' }),
    }),
    async showSetup({ params }) {
      const token = await operations.tunnelToken(params.key, { rotate: false });
      const facts = setupFacts(operations.status(params.key).device, token);
      return {
        token,
        autossh_cmd: AUTOSSH_COMMAND,
        systemd_unit: systemdUnitText(),
        setup_script_url: `${baseUrl}/tunnel/setup/${token}`,
        ssh_config: sshConfigText(facts),
        known_hosts: knownHostsText(facts),
        forwards: facts.forwards.map(({ name, localPort }) => ({ service_name: name, local_port: localPort })),
      };
    },
    showStatus({ params }) {
      const status = operations.status(params.key);
      const { device, session } = status;
      return {
        status: session === null ? 'offline' : 'online',
        connected_at: isoTimeOrNull(session?.connectedAtMs ?? null),
        last_seen: isoTimeOrNull(device.lastSeenAtMs),
        services: servicesView(status),
      };
    },
    showSession({ params }) {
      const { session } = operations.status(params.key);
      return { session: session && sessionView(session) };
    },
    async showLogs({ params }) {
      operations.status(params.key); // throws where there is no such device
      return { items: (await operations.audit(params.key, LOGS_MAX)).map(auditView) };
    },
    disconnect({ params }) {
      return { ok: true, disconnected: operations.disconnect(params.key) };
    },
    async pause({ params, body }) {
      const untilMs = Math.ceil(nowMs() + body.minutes * MINUTE_MS);
      await operations.pause(params.key, untilMs);
      return { ok: true, paused: true, pause_until: isoTime(untilMs) };
    },
    async resume({ params }) {
      await operations.resume(params.key);
      return { ok: true, paused: false };
    },
    showForwards: ({ params }) => ({ forwards: forwardsOf(operations.status(params.key)) }),
    async setForwards({ params, body }) {
      const wanted = wantedForwards(body.forwards, operations.status(params.key));
      await operations.setForwards(params.key, wanted);
      return { ok: true, forwards: forwardsOf(operations.status(params.key)), reconnect_required: true };
    },
    showOverview() {
      const items = operations.devices().map(({ key }) => overviewItem(operations.status(key), nowMs()));
      const having = (status: string) => items.filter((item) => item.status === status).length;
      return {
        summary: {
          total: items.length,
          online: having('online'),
          offline: having('offline'),
          waiting_for_first_connect: having('waiting_for_first_connect'),
        },
        items,
      };
    },
    listBlockedPorts: () => ({ items: operations.blockedPorts().map(blockedView) }),
    async releasePort({ params }) {
      const port = Number(params.port);
      if (!/^[1-9]\d{0,4}$/.test(params.port) || port > 65_535) {
        throw new Refusal('Invalid request', 'port must be from 1 to 65535', { field: 'port' });
      }
      if (!(await operations.releasePort(port))) {
        throw new Refusal('Port not blocked', `Port ${port} is not blocked`);
      }
      return { ok: true };
    },
    /** Unknown, paused, not authorized and malformed look alike: whoever asks has shown nothing yet. */
    showSetupScript({ params, source }) {
      const waitSeconds = limit.waitSeconds(source);
      if (waitSeconds > 0) {
        const headers = { 'Retry-After': String(waitSeconds) };
        throw new Refusal('Too many requests', 'One request a second, please', { headers });
      }
      const device = operations.deviceOfTunnelToken(params.token);
      if (device === null) throw new Refusal('Invalid token', 'This token is not valid now');
      const script = setupScript(setupFacts(device, params.token));
      return new Reply(script, { headers: { 'Content-Disposition': 'inline; filename="zeroforce-tunnel-setup.sh"' } });
    },
  };
}
