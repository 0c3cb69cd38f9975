import type { Test } from 'tap';
import type { Report } from '../../src/diagnose/report.ts';
import { type Daemon, type Diagnosis, expectHealthy, LAN_PEER, type Machine, machine } from './machine.ts';
import { gatewayInLan, untilTunnel } from './proxy-bench.ts';

// Whole machines with a real tunnel to our gateway, where no check may say anything.

/** A password nobody needs: what is in the throw-away machine for "technician" stands for "pi", too. */
export const PI = `
echo 'pi:x:1000:1000:,,,:/home/pi:/bin/sh' >>/etc/passwd
echo 'pi:x:1000:' >>/etc/group
sed -n 's/^technician/pi/p' /etc/shadow >/run/pi && cat /run/pi >>/etc/shadow
mkdir -m 755 /home/pi && mkdir -m 700 /home/pi/.ssh
ssh-keygen -q -t ed25519 -N '' -f /run/key-of-pi && cp /run/key-of-pi.pub /home/pi/.ssh/authorized_keys
chown -R 1000:1000 /home/pi`;

export interface Bench {
  device: Machine;
  /** What makes it a device of the gateway. */
  meeting: { deviceKey: string; token: string; proxy: { host: string; port: number } };
  /** The service with this configuration, or with what is there; ready when its tunnel stands. */
  serve(config: object | null): Promise<Daemon>;
}

export async function bench(t: Test, hostname: string): Promise<Bench> {
  const device = await machine(t, hostname);
  const gateway = await gatewayInLan(t, device);
  const added = (await gateway.json('device', 'add')) as { devicekey: string; token_code: string };
  return {
    device,
    meeting: {
      ...{ deviceKey: added.devicekey, token: added.token_code },
      proxy: { host: LAN_PEER, port: gateway.ports.agent },
    },
    async serve(config) {
      if (config !== null) await device.configure(config);
      const service = await device.service();
      await untilTunnel(device, ({ state }) => state === 'up');
      return service;
    },
  };
}

/** All is well, as far as root can see: nothing is unknown, either. */
export function expectWell(t: Test, found: Diagnosis, unknownAllowed: readonly string[] = []): void {
  expectHealthy(t, found);
  expectNothing(t, found.report, unknownAllowed);
}

export function expectNothing(t: Test, report: Report, allowed: readonly string[] = []): void {
  const told = report.checks.filter(({ id, status }) => status !== 'ok' && status !== 'skip' && !allowed.includes(id));
  t.strictSame(
    told.map(({ id, summary, evidence }) => `${id}: ${summary} (${evidence})`),
    [],
    'everything is known',
  );
}

/** With the network, and without a process for each run. */
export const look = (device: Machine) => device.examine({}, { network: true });
