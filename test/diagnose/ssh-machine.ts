import type { Test } from 'tap';
import { type Machine, machine } from './machine.ts';

/**
 * A machine with the service and without a tunnel, for what is about its SSH servers: nothing else is to fail there.
 * `diagnose` leaves the network out, which costs time and says nothing about them.
 */
export async function sshMachine(t: Test): Promise<Machine> {
  const device = await machine(t);
  await device.configure({ transport: 'none', mdns: { enabled: false } });
  await device.service();
  return { ...device, diagnose: (args = [], env = {}) => device.diagnose(['--no-network', ...args], env) };
}
