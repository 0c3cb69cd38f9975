import { execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import type { FoundDevice } from '../../src/discovery/browse.ts';
import { device, temporaryFolder, untilStatus } from '../device/support.ts';
import { endChild, type Output, run } from '../support/processes.ts';
import type { Service } from '../support/service.ts';
import { until } from '../support/until.ts';

export const NEEDS_NETWORK = ['root', 'namespaces', 'ip', 'unshare'] as const;
export const NEEDS_AVAHI = [...NEEDS_NETWORK, 'avahi-daemon', 'avahi-browse', 'avahi-publish', 'dbus-daemon'] as const;

let made = 0;

/** A network namespace that ends with the test: a machine of its own, as far as mDNS can see. */
export interface Machine {
  namespace: string;
  /** `ip ARGS` inside. */
  ip(...args: string[]): void;
}

export function machine(t: Test): Machine {
  made += 1;
  const namespace = `zf-${process.pid}-${made}`;
  ip('netns', 'add', namespace);
  t.teardown(() => ip('netns', 'del', namespace));
  return { namespace, ip: (...args) => ip('-n', namespace, ...args) };
}

/** A cable between two machines, with an address (`10.0.0.1/24`) at each end or none; both ends are up. */
export function connect(
  [left, leftName, leftAddress]: [machine: Machine, name: string, address?: string],
  [right, rightName, rightAddress]: [machine: Machine, name: string, address?: string],
): void {
  left.ip('link', 'add', leftName, 'type', 'veth', 'peer', 'name', rightName, 'netns', right.namespace);
  for (const [{ ip }, name, address] of [
    [left, leftName, leftAddress],
    [right, rightName, rightAddress],
  ] as const) {
    if (address !== undefined) ip('addr', 'add', address, 'dev', name);
    ip('link', 'set', name, 'up');
  }
}

/** A switch with these machines on it, each with a port `NAME` inside. */
export function bridge(t: Test, name: string, ...ports: [machine: Machine, name: string, address: string][]): Machine {
  const hub = machine(t);
  hub.ip('link', 'add', name, 'type', 'bridge');
  hub.ip('link', 'set', name, 'up');
  for (const [index, [other, port, address]] of ports.entries()) {
    connect([hub, `${name}${index}`], [other, port, address]);
    hub.ip('link', 'set', `${name}${index}`, 'master', name);
  }
  return hub;
}

/** The service on this machine, by the name `hostname`, announcing itself. */
export function announcedDevice(
  t: Test,
  { namespace }: Machine,
  hostname: string,
  settings: Record<string, string> = {},
): Promise<Service> {
  const named = ['unshare', '-u', 'sh', '-c', 'hostname "$0" && exec "$@"', hostname];
  return device(
    t,
    { ZEROFORCE_MDNS: '1', ZEROFORCE_MODEL: 'Beamer 2', ZEROFORCE_HTTP_HOST: '::', ...settings },
    { wrapper: ['ip', 'netns', 'exec', namespace, ...named] },
  );
}

/** Waits until the device is announced under `name` on all of `links`. */
export function untilAnnounced(service: Service, name: string, links: string[]): ReturnType<typeof untilStatus> {
  return untilStatus(
    service,
    ({ mdns }) =>
      mdns?.name === name &&
      links.every((link) => mdns.interfaces.some((each) => each.name === link && each.state === 'announced')),
  );
}

/** An avahi on a machine, with a message bus of its own. */
export interface Avahi {
  /** Browses a type from now on: every service that came and is still there, with what it was resolved to. */
  browse(type: string): Browser;
  /** Announces a service until the test ends; resolves once the name is taken. */
  publish(name: string, type: string, port: number, ...txt: string[]): Promise<void>;
  /** The address of a host name, '' for none. */
  resolve(host: string): Promise<string>;
}

export interface Browser {
  /** `NAME HOST ADDRESS PORT "TXT" …` for each that is there over IPv4. */
  present(): string[];
}

export async function avahi(t: Test, { namespace }: Machine, hostname: string): Promise<Avahi> {
  const folder = temporaryFolder(t);
  const bus = join(folder, 'bus');
  await writeFile(join(folder, 'dbus.conf'), busConfig(bus));
  await writeFile(join(folder, 'avahi.conf'), avahiConfig(hostname));
  const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', DBUS_SYSTEM_BUS_ADDRESS: `unix:path=${bus}` };
  const inside = ['netns', 'exec', namespace];
  const start = (program: string, args: string[]) => {
    const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    child.stderr.resume();
    t.teardown(() => endChild(child, 'SIGKILL'));
    return child;
  };
  start('dbus-daemon', [`--config-file=${join(folder, 'dbus.conf')}`, '--nofork']);
  await until('the message bus', () => existsSync(bus));
  // `ip netns exec` gives a mount namespace of its own, too, so that this /run is nobody else's.
  const daemon = `mount -t tmpfs tmpfs /run && mkdir /run/avahi-daemon && exec avahi-daemon -f ${join(folder, 'avahi.conf')} --no-drop-root --no-chroot --no-rlimits`;
  start('ip', [...inside, 'sh', '-c', daemon]);
  await until('avahi', async () => {
    const { code } = await run('ip', [...inside, 'avahi-browse', '-t', '_none._tcp'], { env });
    return code === 0;
  });
  return {
    browse(type) {
      const there = new Map<string, string>();
      let rest = '';
      start('ip', [...inside, 'avahi-browse', '-rp', type])
        .stdout.setEncoding('utf8')
        .on('data', (text: string) => {
          const lines = (rest + text).split('\n');
          rest = lines.pop() ?? '';
          for (const line of lines) {
            const [event, link, family, name = '', , , host, address, port, ...txt] = line.split(';');
            if (family !== 'IPv4') continue;
            const key = `${link} ${name}`;
            if (event === '=') there.set(key, [name, host, address, port, ...txt].join(' '));
            if (event === '-') there.delete(key);
          }
        });
      return { present: () => [...there.values()] };
    },
    async publish(name, type, port, ...txt) {
      const { stderr } = start('ip', [...inside, 'avahi-publish', '-s', name, type, String(port), ...txt]);
      let said = '';
      stderr.setEncoding('utf8').on('data', (text: string) => {
        said += text;
      });
      await until(`avahi to announce ${name}`, () => said.includes('Established'));
    },
    async resolve(host) {
      const { stdout } = await run('ip', [...inside, 'avahi-resolve', '-4', '-n', host], { env });
      return stdout.trim().split(/\s+/)[1] ?? '';
    },
  };
}

/** What `browse` finds on a machine, in a process of its own. */
export async function browseOn({ namespace }: Machine, timeoutMs: number): Promise<FoundDevice[]> {
  const program = resolve(import.meta.dirname, 'browse-child.js');
  const output = await runOn(namespace, process.execPath, program, String(timeoutMs));
  if (output.code !== 0) throw new Error(output.stderr);
  return JSON.parse(output.stdout) as FoundDevice[];
}

/**
 * When an mDNS program on this machine holds what it has registered: no address is being checked any more (RFC 4862 5.4),
 * for which it would ask for its names again, and it has said everything for the third time (RFC 6762 8.3). Before that
 * avahi may give in to whoever asks for the same name.
 */
export async function settled({ namespace }: Machine): Promise<void> {
  await until('the addresses to be final', async () => {
    return (await runOn(namespace, 'ip', '-6', 'addr', 'show', 'tentative')).stdout === '';
  });
  await sleep(THIRD_ANNOUNCEMENT_MS);
}

/** After 0, 1 and 3 s, with some slack. */
const THIRD_ANNOUNCEMENT_MS = 4_000;

export function runOn(namespace: string, ...command: string[]): Promise<Output> {
  return run('ip', ['netns', 'exec', namespace, ...command], { timeoutMs: 60_000 });
}

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}

const busConfig = (socket: string) => `<busconfig>
  <type>custom</type><listen>unix:path=${socket}</listen><auth>EXTERNAL</auth>
  <policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/><allow user="*"/></policy>
</busconfig>
`;

const avahiConfig = (hostname: string) => `[server]
host-name=${hostname}
[wide-area]
enable-wide-area=no
[publish]
publish-workstation=no
publish-hinfo=no
`;
