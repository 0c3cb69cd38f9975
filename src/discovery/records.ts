import { isLinkLocal, isPlausible, withoutZone } from './addresses.ts';
import type { Link } from './links.ts';
import { type DnsRecord, foldCase, type Packet, type Question, SERVICE_TYPES, type ServiceType } from './packet.ts';

export interface FoundDevice {
  /** As its owner named it; without control and direction characters, safe to print. */
  name: string;
  /** Lower case. Null where it is no host name. */
  host: string | null;
  /** Best first: the one that the device answered from, then IPv4, then IPv6; link-local ones with their zone. */
  addresses: string[];
  tunnelPort: number;
  /** Null where the device does not say. */
  httpPort: number | null;
  path: string;
  model: string | null;
  types: ServiceType[];
}

const MAX_DEVICES = 64;
const MAX_INSTANCES = MAX_DEVICES * SERVICE_TYPES.length;
const MAX_ADDRESSES = 16;
/** A name is one label of DNS (RFC 6763 4.1.1). */
const MAX_NAME_BYTES = 63;
const MAX_MODEL_LENGTH = 60;
const MAX_TXT_STRINGS = 32;
const DEFAULT_PATH = '/zeroforce';

/** Control characters, and those that are invisible or change the direction of what follows. */
const UNPRINTABLE =
  /[\u0000-\u001f\u007f-\u00a0\u00ad\u061c\u115f\u180e\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ufff0-\uffff\ud800-\udfff]/;
const ASTRAL = /[\ud800-\udbff][\udc00-\udfff]/g;
const INVISIBLE_ASTRAL = /\udb40[\udc00-\udfff]/;
const HOST = /^(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*$/;
const PATH = /^(\/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){1,8}$/;

interface Instance {
  name: string;
  type: ServiceType;
  target: { host: string; port: number } | null;
  txt: Map<string, string> | null;
}

/**
 * What the answers on the network say of devices, packet by packet. Everybody in the network can write them, so all is
 * bounded, and what is not as it must be is passed over.
 */
export class Findings {
  readonly #instances = new Map<string, Instance>();
  /** Host name → address → whether an answer came from it. */
  readonly #hosts = new Map<string, Map<string, boolean>>();

  /** Learns from an answer that came over `link` from the address `source`. */
  learn(packet: Packet, link: Link, source: string): void {
    const records = [...(packet.answers ?? []), ...(packet.additionals ?? [])];
    for (const record of records) this.#learnInstance(record);
    // After the services: only the addresses of their hosts are of interest.
    for (const record of records) this.#learnAddress(record, link, source);
  }

  /** What can be reached: with a port and at least one address, merged over both types, by name. */
  devices(): FoundDevice[] {
    const devices = new Map<string, FoundDevice>();
    for (const instance of this.#instances.values()) {
      if (instance.target === null) continue;
      const { host, port } = instance.target;
      const addresses = this.#addressesOf(host);
      if (addresses.length === 0) continue;
      const key = `${foldCase(instance.name)}\n${host}\n${port}`;
      const known = devices.get(key);
      if (known === undefined && devices.size === MAX_DEVICES) continue;
      const { httpPort, path, model } = known?.httpPort ? known : facts(instance.txt);
      const types = [...(known?.types ?? []), instance.type].sort();
      devices.set(key, { name: instance.name, host, addresses, tunnelPort: port, httpPort, path, model, types });
    }
    return [...devices.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** What to ask to know more: names are known whose port, text or addresses did not come along. */
  questions(): Question[] {
    const questions = new Map<string, Question>();
    const ask = (name: string, type: string) => questions.set(`${name} ${type}`, { name, type });
    for (const { name, type, target, txt } of this.#instances.values()) {
      if (target === null) ask(`${name}.${type}.local`, 'SRV');
      if (txt === null) ask(`${name}.${type}.local`, 'TXT');
      if (target !== null && !this.#hosts.get(target.host)?.size) {
        ask(target.host, 'A');
        ask(target.host, 'AAAA');
      }
    }
    return [...questions.values()];
  }

  #learnInstance(record: DnsRecord): void {
    const type = SERVICE_TYPES.find((each) => foldCase(record.name).endsWith(`${each}.local`));
    if (type === undefined) return;
    if (record.type === 'PTR' && foldCase(record.name) === `${type}.local`) {
      if (typeof record.data === 'string') this.#instance(record.data, type, record.ttl);
      return;
    }
    if (record.type === 'SRV') {
      const target = targetOf(record.data);
      if (target === null) return;
      const instance = this.#instance(record.name, type, record.ttl);
      if (instance !== null) instance.target = target;
    }
    if (record.type === 'TXT') {
      const instance = this.#instance(record.name, type, record.ttl);
      if (instance !== null) instance.txt = textOf(record.data);
    }
  }

  /** The instance of a full name, made when it is new; null for a wrong name, a goodbye, or one too many. */
  #instance(fullName: string, type: ServiceType, ttl: number): Instance | null {
    const suffix = `.${type}.local`;
    if (!foldCase(fullName).endsWith(suffix)) return null;
    const name = fullName.slice(0, -suffix.length);
    if (Buffer.byteLength(name) > MAX_NAME_BYTES || !isPrintable(name)) return null;
    const key = foldCase(fullName);
    if (ttl === 0) {
      this.#instances.delete(key);
      return null;
    }
    const known = this.#instances.get(key);
    if (known !== undefined) return known;
    if (this.#instances.size === MAX_INSTANCES) return null;
    const instance: Instance = { name, type, target: null, txt: null };
    this.#instances.set(key, instance);
    return instance;
  }

  #learnAddress({ name, type, ttl, data }: DnsRecord, link: Link, source: string): void {
    if ((type !== 'A' && type !== 'AAAA') || typeof data !== 'string' || !isPlausible(link, data)) return;
    const host = hostName(name);
    if (host === null || ![...this.#instances.values()].some(({ target }) => target?.host === host)) return;
    const addresses = this.#hosts.get(host) ?? new Map<string, boolean>();
    const address = isLinkLocal(data) ? `${data}%${link.name}` : data;
    if (ttl === 0) addresses.delete(address);
    else if (addresses.has(address) || addresses.size < MAX_ADDRESSES)
      addresses.set(address, addresses.get(address) === true || withoutZone(source) === data);
    this.#hosts.set(host, addresses);
  }

  #addressesOf(host: string): string[] {
    const rank = (address: string, answered: boolean) =>
      (answered ? 0 : 4) + (isLinkLocal(address) ? 2 : address.includes(':') ? 1 : 0);
    return [...(this.#hosts.get(host) ?? [])]
      .map(([address, answered]) => ({ address, rank: rank(address, answered) }))
      .sort((a, b) => a.rank - b.rank)
      .map(({ address }) => address);
  }
}

const isPrintable = (text: string) =>
  text.trim() !== '' && !INVISIBLE_ASTRAL.test(text) && !UNPRINTABLE.test(text.replace(ASTRAL, ''));

function targetOf(data: unknown): Instance['target'] {
  if (typeof data !== 'object' || data === null) return null;
  const { target, port } = data as { target?: unknown; port?: unknown };
  const host = typeof target === 'string' ? hostName(target) : null;
  return host === null || !isPort(port) ? null : { host, port };
}

function hostName(name: string): string | null {
  const host = foldCase(name).replace(/\.$/, '');
  return host.length <= 253 && HOST.test(host) ? host : null;
}

const isPort = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value > 0 && value < 65_536;

/** The keys of a TXT record, in lower case; the first of several counts (RFC 6763 6.4). */
function textOf(data: unknown): Map<string, string> {
  const texts = new Map<string, string>();
  const parts: unknown[] = Array.isArray(data) ? data : [data];
  for (const part of parts.slice(0, MAX_TXT_STRINGS)) {
    if (!Buffer.isBuffer(part)) continue;
    const [, key, value] = /^([\x20-\x3c\x3e-\x7e]+)=(.*)$/s.exec(part.toString()) ?? [];
    if (key !== undefined && value !== undefined && !texts.has(key.toLowerCase())) texts.set(key.toLowerCase(), value);
  }
  return texts;
}

function facts(txt: Instance['txt']): Pick<FoundDevice, 'httpPort' | 'path' | 'model'> {
  const http = txt?.get('http') ?? '';
  const port = /^\d{1,5}$/.test(http) ? Number(http) : 0;
  const path = txt?.get('path') ?? '';
  const model = txt?.get('model') ?? '';
  return {
    httpPort: isPort(port) ? port : null,
    path: path.length <= 64 && PATH.test(path) ? path : DEFAULT_PATH,
    model: model.length <= MAX_MODEL_LENGTH && isPrintable(model) ? model : null,
  };
}
