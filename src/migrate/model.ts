import type { Layer } from '../config/layers.ts';

/** What starts services on this machine; null where nobody can tell. */
export type InitSystem = 'systemd' | 'openrc' | 'scripts';

/**
 * What a program of the software deployed before is there for. `pairing`: that and nothing more, by its source and its
 * answers; `more`: serves pairing and something else, or may do so; `usb`: USB alone; `sshd`: that of the paired tunnel.
 */
export type Role = 'agent' | 'monitor' | 'pairing' | 'more' | 'usb' | 'sshd';

export interface Part {
  readonly role: Role;
  /** The file, or the name that it is called by: `/opt/beamer/zeroforce_tunnel_monitor.sh`, `tunnel_agent`. */
  readonly program: string;
}

/**
 * One change of a file that can be taken back exactly. Made twice it is made once; found in another state than before or
 * after it, the file belongs to somebody else and is left as it is.
 */
export type Change =
  | { readonly change: 'unlink' | 'link'; readonly path: string; readonly target: string }
  | { readonly change: 'rename'; readonly from: string; readonly to: string }
  | {
      readonly change: 'text';
      readonly path: string;
      /** base64 of the whole content; null where there is no such file. */
      readonly before: string | null;
      readonly after: string | null;
      /** Of a file that is made; one that is there keeps its own. */
      readonly mode: number;
    };

/** Something that starts programs at boot: a unit, an init script, a table of cron, rc.local. */
export interface Entry {
  readonly kind: 'systemd' | 'openrc' | 'script' | 'cron' | 'rc.local' | 'inittab';
  /** As a person finds it again: `rpi-tunnel.service`, `/etc/init.d/S92zeroforce-monitor`, `/etc/crontab`. */
  readonly name: string;
  /** What of the deployed software it starts. */
  readonly parts: readonly Part[];
  /** What else it starts. */
  readonly others: readonly string[];
  readonly enabled: boolean;
  readonly running: boolean;
  /** What keeps it from starting at the next boot. */
  readonly disable: readonly Change[];
  /** Why it cannot be disabled so that it can be taken back; null where it can. */
  readonly obstacle: string | null;
  /** Commands; empty where its programs are ended by their number, or where nothing starts before the next boot. */
  readonly stop: readonly (readonly string[])[];
  readonly start: readonly (readonly string[])[];
}

/** A program of the deployed software that runs now. */
export interface DeployedProcess extends Part {
  readonly pid: number;
  readonly startTicks: number;
  /** `python3 /opt/…/tunnel_agent.py (process 123)`, fit to be shown. */
  readonly shown: string;
}

/** Who holds a port. */
export interface Holder {
  readonly port: number;
  /** `python3 … (process 123)`, or that it cannot be told. */
  readonly shown: string;
  readonly who: Role | 'ours' | 'unknown';
}

/** All that the plan is made from. */
export interface Facts {
  readonly isRoot: boolean;
  /** Null where no known init system runs. */
  readonly init: InitSystem | null;
  readonly entries: readonly Entry[];
  readonly processes: readonly DeployedProcess[];
  /** Of the ports that pairing, USB and the paired tunnel have had: 5000, 6000, 8007 and the configured ones. */
  readonly holders: readonly Holder[];
  /** Every port that is listened on. */
  readonly takenPorts: ReadonlySet<number>;
  /** Programs that are neither ours nor known, and hold a connection to the port of the proxy. */
  readonly strangersAtProxy: readonly string[];
  readonly ours: OurService;
  /** Our dedicated sshd, where it is installed and enabled or running. */
  readonly ourSshd: Entry | null;
  readonly configuration: Configuration;
  readonly pairing: PairingFacts;
  /** What a person should know of what was found. */
  readonly notes: readonly string[];
}

export interface OurService {
  /** The init system knows the service `zeroforce`. */
  readonly installed: boolean;
  readonly enabled: boolean;
  readonly running: boolean;
  /** What of that name is there and starts another program; null otherwise. */
  readonly shadowedBy: string | null;
}

export interface Configuration {
  readonly path: string;
  /** Our configuration file, whole; null where there is none. */
  readonly text: string | null;
  /** Every fault in it; empty where it is right or absent. */
  readonly faults: readonly string[];
  /** What it says, as read; an empty object where there is none. */
  readonly content: Readonly<Record<string, unknown>>;
  /** In force with it, or with the defaults. */
  readonly httpPort: number;
  readonly tunnelPort: number;
  /** Whether it gives the tunnel an identity, or says that there is none to be. */
  readonly settled: boolean;
  /** Whether ours would hold a tunnel with it. */
  readonly hasTunnel: boolean;
  /** The values found in deployed files, the environment of deployed programs, and the configuration of their sshd. */
  readonly deployed: Layer;
  readonly deployedNotices: readonly string[];
}

export interface PairingFacts {
  readonly keysFile: string;
  /** `key`: a valid one is installed; `unreadable`: nobody can tell. */
  readonly keys: 'key' | 'none' | 'unreadable';
  readonly fingerprint: string | null;
  /** Lines that look like keys. */
  readonly keyCount: number;
  /** The flag of the monitor says that a tunnel stands, or did when it last looked. */
  readonly flag: boolean;
  /** Our marker is there already. */
  readonly marked: boolean;
}

/** What is to be done, as data. Nothing is done while `blocked` has a sentence in it. */
export interface Plan {
  /** What was found and what happens to it, for people. */
  readonly findings: readonly Finding[];
  readonly blocked: readonly string[];
  readonly notes: readonly string[];
  /** Null where the configuration stays as it is. */
  readonly config: (Change & { change: 'text' }) | null;
  /** The options that are taken over, without their values. */
  readonly configKeys: readonly string[];
  /** Where pairing will be. */
  readonly httpPort: number;
  /** Write the marker "ever paired". */
  readonly markPaired: boolean;
  readonly entries: readonly Entry[];
  /** Ours is to run afterwards, with a session of the tunnel, and with pairing on its port. */
  readonly expect: { readonly session: boolean; readonly http: boolean };
}

export interface Finding {
  readonly what: string;
  readonly decision: 'take over' | 'stop and disable' | 'leave alone' | 'nothing to do';
  readonly why: string;
}

/** Whether there is something to be done, also where something stands in its way. */
export function isDue({ blocked, entries, config }: Plan): boolean {
  return blocked.length > 0 || entries.length > 0 || config !== null;
}
