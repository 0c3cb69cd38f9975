import { createHash } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { homedir, networkInterfaces, release, uptime } from 'node:os';
import { dirname, join } from 'node:path';
import { readSmallFile } from '../../support/small-file.ts';
import { hostAndPort } from '../../support/text.ts';
import type { Facts } from '../facts.ts';
import { KEY_FILE_MAX_BYTES } from '../probes/credentials.ts';
import { listeners, programs } from '../probes/sockets.ts';
import { sshServer } from '../probes/sshd.ts';
import { configFiles, sshdProgram } from '../probes/sshd-config.ts';
import { authorizedKeys } from '../sshd/authorized-keys.ts';
import { FIREWALL_PARTS } from './firewall.ts';
import { LOG_PARTS } from './log.ts';
import { file, firstOf, found, type Part, program, withoutComments } from './parts.ts';

/** A text file of the bundle, put together from what was asked. */
export interface Item {
  readonly name: string;
  /** For the table of contents. */
  readonly about: string;
  readonly parts: readonly Part[];
  /** Of a longer one the beginning is kept, of a log the end. */
  readonly keep: 'start' | 'end';
  readonly maxBytes: number;
}

const KIB = 1024;

function item(name: string, about: string, parts: readonly Part[], more: Partial<Item> = {}): Item {
  return { name, about, parts, keep: 'start', maxBytes: 128 * KIB, ...more };
}

export const ITEMS: readonly Item[] = [
  item('versions.txt', 'this program, Node, the system, OpenSSH, BusyBox, the board', [
    found('versions', async ({ version }) =>
      [
        `zeroforce ${version}`,
        `node ${process.version} ${process.platform} ${process.arch}`,
        `openssl of node ${process.versions.openssl}`,
        `kernel ${release()}`,
      ].join('\n'),
    ),
    file('/etc/os-release'),
    file('/proc/version'),
    firstOf(file('/proc/device-tree/model'), file('/sys/class/dmi/id/product_name')),
    file('/proc/1/comm'),
    program('ssh', '-V'),
    found('sshd -V', async (facts) => (await facts.get(sshdProgram))?.said ?? 'it does not say'),
    program('netstat', '--version'),
    program('busybox'),
    program('openssl', 'version'),
  ]),
  item('time.txt', 'the clocks of the device', [
    found('clocks', async ({ clock }) =>
      [
        `wall clock ${new Date().toISOString()}, zone ${new Date().getTimezoneOffset()} min behind UTC`,
        `up for ${Math.round(uptime())} s, monotonic ${Math.round(clock.nowMs())} ms`,
      ].join('\n'),
    ),
    file('/proc/uptime'),
    found('boot', async () => /^btime .*$/m.exec(await readFile('/proc/stat', 'utf8'))?.[0] ?? ''),
    file('/sys/class/rtc/rtc0/since_epoch'),
  ]),
  item('log.txt', 'the last lines of the service and of the SSH servers', LOG_PARTS, {
    keep: 'end',
    maxBytes: 512 * KIB,
  }),
  item('sockets.txt', 'who listens where, and the connections', [
    found('listening', async (facts) => listening(facts)),
    firstOf(program('netstat', '-tlnp'), program('ss', '-tlnp'), file('/proc/net/tcp')),
    firstOf(program('netstat', '-tn'), program('ss', '-tn')),
    firstOf(program('netstat', '-ulnp'), program('ss', '-ulnp'), file('/proc/net/udp')),
  ]),
  item('processes.txt', 'the processes; arguments only of ours and of SSH', [found('processes', processes)]),
  item('sshd.txt', 'the effective configuration of both SSH servers, and their files without comments', [
    effectiveOf('sshd'),
    effectiveOf('paired'),
    filesOf('sshd'),
    filesOf('paired'),
  ]),
  item('firewall.txt', 'the rules of the kernel', FIREWALL_PARTS, { maxBytes: 256 * KIB }),
  item('network.txt', 'addresses, routes, names, hosts.allow and hosts.deny without comments', [
    firstOf(
      program('ip', 'addr'),
      program('ifconfig', '-a'),
      found('interfaces', async () => JSON.stringify(networkInterfaces(), null, 1)),
    ),
    file('/etc/hostname'),
    firstOf(program('ip', 'route', 'show', 'table', 'all'), program('route', '-n'), file('/proc/net/route')),
    program('ip', 'rule'),
    firstOf(program('ip', 'neigh'), file('/proc/net/arp')),
    ...['/etc/resolv.conf', '/etc/hosts', '/etc/hosts.allow', '/etc/hosts.deny', '/etc/nsswitch.conf'].map((path) =>
      file(path, { comments: false }),
    ),
  ]),
  item('keys.txt', 'fingerprints of the keys that are let in, owners and modes', [found('authorized keys', keys)]),
  item('files.txt', 'names, owners and modes of the files of the service', [
    found('folders', async ({ config, settings }) =>
      (await Promise.all([...new Set([dirname(settings.file), config.stateDir, config.runDir])].map(folder))).join(
        '\n\n',
      ),
    ),
  ]),
  item('disk.txt', 'space, mounts, memory', [
    program('df', '-h'),
    program('df', '-i'),
    file('/proc/mounts'),
    file('/proc/meminfo'),
    file('/proc/loadavg'),
  ]),
];

async function listening(facts: Facts): Promise<string> {
  const { all, ownersKnown } = await facts.get(listeners);
  const lines = all.map(({ address, port, owners }) => {
    const who = owners.map(({ name, pid }) => `${name} ${pid}`).join(', ');
    return `${hostAndPort(address, port)}  ${who || (ownersKnown ? 'the kernel, or another namespace' : 'only root may know')}`;
  });
  return lines.join('\n');
}

/** Programs whose arguments matter to us; those of others may hold a password that nobody can recognise. */
const TOLD = /^(?:sshd(?:-session|-auth)?|ssh|autossh|dropbear|dbclient|avahi-daemon|tunnel-agent|netstat)$/;
const OURS = /(?:^|\/)tunnel-agent(?:\.[cm]?js)?$/;
const MAX_ARGUMENTS_CHARACTERS = 500;

async function processes(facts: Facts): Promise<string> {
  const all = await facts.get(programs);
  return all
    .map(({ pid, parentPid, state, name, words }) => {
      const isTold = TOLD.test(name) || words.some((word) => OURS.test(word));
      const told = isTold ? words.join(' ').slice(0, MAX_ARGUMENTS_CHARACTERS) : '';
      return `${pid} ${parentPid} ${state} ${name} ${told}`.trimEnd();
    })
    .join('\n');
}

function effectiveOf(role: 'sshd' | 'paired'): Part {
  return async (facts) => {
    const { configFile, daemon, kind } = await facts.get(sshServer(role));
    const { path } = (await facts.get(sshdProgram)) ?? { path: null };
    const title = `sshd -T -f ${configFile} (${role}, ${kind})`;
    if (path === null) return { title, reason: 'there is no sshd' };
    const piece = await program(path, '-T', '-f', configFile, ...(daemon?.command.overrides ?? []))(facts);
    return { ...piece, title };
  };
}

function filesOf(role: 'sshd' | 'paired'): Part {
  return found(`files of ${role}`, async (facts) => {
    const all = await facts.get(configFiles(role));
    return all
      .map(({ path, text }) => `--- ${path}\n${text === null ? '(not readable)' : withoutComments(text)}`)
      .join('\n');
  });
}

/** Of every file that lets somebody in: whose it is, and what is in it, without the keys themselves. */
async function keys({ config }: Facts): Promise<string> {
  const homes = await readdir('/home').catch(() => []);
  const usual = ['/root', homedir(), ...homes.map((name) => join('/home', name))].map((home) =>
    join(home, '.ssh/authorized_keys'),
  );
  const maintained = config.meetingApi?.maintenanceKeysFiles ?? [];
  const paths = [...new Set([config.pairing.authorizedKeysFile, ...maintained, ...usual])];
  return (await Promise.all(paths.map(keyFile))).join('\n');
}

async function keyFile(path: string): Promise<string> {
  const above = await Promise.all([path, dirname(path), dirname(dirname(path))].map(mode));
  const file = await readSmallFile(path, KEY_FILE_MAX_BYTES).catch(() => null);
  const lines = authorizedKeys(file?.bytes.toString('utf8') ?? '').map(({ type, options, key }) => {
    const digest = createHash('sha256').update(Buffer.from(key, 'base64')).digest('base64').replace(/=+$/, '');
    const named = options.map(({ name }) => name).join(',') || 'no options';
    return `  ${type} SHA256:${digest} (${named})`;
  });
  return [...above, ...lines].join('\n');
}

async function folder(path: string): Promise<string> {
  const names = await readdir(path).catch(() => []);
  const lines = await Promise.all(['', ...names.slice(0, 200).toSorted()].map((name) => mode(join(path, name))));
  return lines.join('\n');
}

async function mode(path: string): Promise<string> {
  try {
    const { mode: bits, uid, gid, size, mtime } = await stat(path);
    return `${bits.toString(8).padStart(6, '0')} ${uid}:${gid} ${size} ${mtime.toISOString()} ${path}`;
  } catch (error) {
    return `${(error as NodeJS.ErrnoException).code ?? 'unknown'} ${path}`;
  }
}
