import type { DeviceStatus } from '../../operations.ts';
import { type EntryName, localPortOf, type ServiceSpec } from '../../types.ts';
import { Refusal } from '../refusal.ts';

export interface ForwardView {
  readonly service_name: string;
  readonly local_port?: number | null | undefined;
}

/** Names that mean something else where a service is opened. */
const RESERVED = /^(?:scp|debug|relay(?:-\d+)?)$/;
const ENTRIES: readonly EntryName[] = ['agent', 'ssh'];

/** In the order of the `-R` requests; the ports are those of the way in which the device connects. */
export function forwardsOf({ device, services }: DeviceStatus): { service_name: string; local_port: number | null }[] {
  const ports = new Map(services.map(({ name, localPort }) => [name, localPort]));
  return device.services.map(({ name }) => ({ service_name: name, local_port: ports.get(name) ?? null }));
}

/**
 * The services that are wanted. A port that was the usual one and is sent back as it was shown stays the usual one: what
 * was read may be written again and changes nothing, also where the device connects in another way later.
 *
 * @throws Refusal 400
 */
export function wantedForwards(wanted: readonly ForwardView[], status: DeviceStatus): ServiceSpec[] {
  const shown = new Map(forwardsOf(status).map(({ service_name, local_port }) => [service_name, local_port]));
  const usual = new Set(status.device.services.filter(({ localPort }) => localPort === null).map(({ name }) => name));
  const specs = wanted.map(({ service_name: name, local_port = null }) => ({
    name,
    localPort: usual.has(name) && shown.get(name) === local_port ? null : local_port,
  }));
  specs.forEach((spec, index) => {
    if (RESERVED.test(spec.name)) refuse(`${spec.name} cannot be the name of a service`, `${index}.service_name`);
    if (localPortOf(spec, 'ssh') === null) refuse(`local_port of ${spec.name} is missing`, `${index}.local_port`);
  });
  if (hasTwice(specs.map(({ name }) => name))) refuse('a service is there more than once');
  for (const entry of ENTRIES) {
    if (hasTwice(specs.map((spec) => localPortOf(spec, entry)))) refuse('two services have the same local port');
  }
  if (!specs.some(({ name }) => name === 'ssh')) refuse('ssh must be among the services');
  return specs;
}

const hasTwice = (values: readonly unknown[]): boolean => new Set(values).size < values.length;

function refuse(sentence: string, where: string | null = null): never {
  throw new Refusal('Invalid request', sentence, { field: where === null ? 'forwards' : `forwards.${where}` });
}
