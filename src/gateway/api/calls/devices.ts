import { parseKeyLine } from '../../../support/ssh-key-line.ts';
import type { OpenedTunnel } from '../../operations.ts';
import { noDevice } from '../auth.ts';
import type { DEVICE_ROUTES } from '../contract/devices.ts';
import { DEVICE_KEY } from '../contract/fields.ts';
import { type Calls, Reply } from '../contract/route.ts';
import type { ApiParts } from '../parts.ts';
import { Refusal } from '../refusal.ts';
import { availabilityView, deviceView, isoTime, meetingTime, serviceUrl } from '../views.ts';

/** What a device is called that nobody said more of. */
const SOME_DEVICE = 'device';
const SERVICE = /^[a-z0-9_-]{1,32}$/;

/** As it was sent. */
interface Wanted {
  readonly service?: string | null | undefined;
  readonly type?: string | null | undefined;
  readonly port?: number | null | undefined;
}

export function deviceCalls({ operations, tunnelHost, nowMs }: ApiParts): Calls<typeof DEVICE_ROUTES> {
  /** @throws Refusal with the words of wire 3 */
  async function open(key: string, wanted: Wanted): Promise<{ service: string; opened: OpenedTunnel }> {
    const service = wanted.service || wanted.type || null;
    if (service === null) {
      throw new Refusal('Missing service param', 'Name the service: ssh, http, vnc, scp or relay', {
        field: 'service',
      });
    }
    if (!SERVICE.test(service)) {
      throw new Refusal('Invalid request', 'service must be 1 to 32 of a-z 0-9 _ -', { field: 'service' });
    }
    const port = wanted.port ?? null;
    if (service === 'relay' && port === null) {
      throw new Refusal('Missing relay port', 'Name the port on the device', { field: 'port' });
    }
    return { service, opened: await operations.open(key, service, service === 'relay' ? port : null) };
  }

  async function openPort(key: string, wanted: Wanted) {
    const { service, opened } = await open(key, wanted);
    return { status: 'ok' as const, port: opened.port, service, device_key: key };
  }

  return {
    listDevices() {
      const sessions = new Map(operations.sessions().map((session) => [session.deviceKey, session]));
      const view = operations.devices().map((device) => deviceView(device, sessions.get(device.key) ?? null, nowMs()));
      return { devices: view };
    },
    async createDevice({ body }) {
      const { devicekey, token_code, device_type, distribution, product_serial = null } = body;
      await operations.create({
        ...{ key: devicekey, tokenCode: token_code, type: device_type, distribution, productSerial: product_serial },
      });
      return new Reply({ devicekey, token_code, device_type, distribution, product_serial }, location(devicekey));
    },
    async generateDevice({ body }) {
      const { device, tokenCode } = await operations.generate(body.device_type ?? SOME_DEVICE);
      return new Reply({ devicekey: device.key, token_code: tokenCode }, location(device.key));
    },
    showDevice({ params }) {
      const { device, session } = operations.status(params.key);
      return deviceView(device, session, nowMs());
    },
    async removeDevice({ params }) {
      await operations.remove(params.key);
      return { ok: true };
    },
    showAvailability: ({ params }) => availabilityView(operations.status(params.key), nowMs()),
    heartbeat({ params, body, source }) {
      const fields = Object.entries(body).filter((field): field is [string, string] => typeof field[1] === 'string');
      const { lastSeenAtMs } = operations.heartbeat(params.key, Object.fromEntries(fields), source);
      return { ok: true, ip_address: source, last_seen: meetingTime(lastSeenAtMs) };
    },
    async setPublicKey({ params, body }) {
      await operations.setPublicKey(params.key, parseKeyLine(body.pubkey).line);
      return { success: true };
    },
    async openService({ params, body }) {
      const { service, opened } = await open(params.key, body);
      const { port, expiresAtMs } = opened;
      return { port, url: serviceUrl(service, tunnelHost, port), expires_at: isoTime(expiresAtMs) };
    },
    requestPort: ({ params, body }) => openPort(params.key, body),
    requestForceCommandPort({ body }) {
      if (!DEVICE_KEY.test(body.device_key)) throw noDevice();
      return openPort(body.device_key, body);
    },
    async authorizeTunnel({ params }) {
      const { key, authorized } = await operations.authorize(params.key, true);
      return { status: 'ok', device_key: key, authorized };
    },
    async authorize({ params, body }) {
      const { authorized } = await operations.authorize(params.key, body.authorized);
      return { ok: true, authorized };
    },
    async setTokenCode({ params, body }) {
      return { token_code: await operations.setTokenCode(params.key, body.token_code ?? null) };
    },
  };
}

const location = (key: string) => ({ headers: { Location: `/api/devices/${encodeURIComponent(key)}` } });
