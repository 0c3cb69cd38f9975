import { resolve } from 'node:path';
import { printable } from '../config/faults.ts';
import { nearest } from '../config/nearest.ts';
import { DEFAULT_OPTIONS, type DiagnoseOptions } from '../diagnose/facts.ts';
import { CHECK_IDS, type CheckId } from '../diagnose/ids.ts';
import type { CommonOptions } from './common.ts';

/** The command line of `diagnose`, as it was typed. */
export interface DiagnoseCommandOptions extends CommonOptions {
  json?: true;
  only?: string;
  sshdConfig?: string;
  sshPort?: string;
  user?: string;
  publicPort?: string;
  dial?: true;
  network: boolean;
  bundle?: string;
  watch?: true;
}

/** The same, understood. */
export interface Request {
  readonly options: DiagnoseOptions;
  /** The checks to make, or null for all. */
  readonly only: readonly CheckId[] | null;
  readonly json: boolean;
  readonly watch: boolean;
  /** Where the bundle is to be written, or null for none. */
  readonly bundle: string | null;
}

/** Ends the command as a wrong command line. */
export type Refuse = (sentence: string) => never;

/** Two options of which only one can be meant, as they are typed, and the reason. */
const CONFLICTS: readonly (readonly [keyof typeof FLAGS, keyof typeof FLAGS, string])[] = [
  ['watch', 'bundle', 'a bundle is of one report'],
  ['dial', 'noNetwork', 'dialling needs the network'],
  ['publicPort', 'noNetwork', 'the address can be tried over the network only'],
];
const FLAGS = {
  watch: '--watch',
  bundle: '--bundle',
  dial: '--dial',
  publicPort: '--public-port',
  noNetwork: '--no-network',
} as const;

export function parseRequest(typed: DiagnoseCommandOptions, refuse: Refuse): Request {
  const given = { ...typed, noNetwork: typed.network ? undefined : true };
  for (const [one, other, why] of CONFLICTS) {
    if (given[one] === undefined || given[other] === undefined) continue;
    refuse(`error: option '${FLAGS[one]}' cannot be used with '${FLAGS[other]}': ${why}`);
  }
  return {
    options: {
      ...DEFAULT_OPTIONS,
      sshdConfig: optional(typed.sshdConfig, (value) => fileOf('--sshd-config', value, refuse)),
      sshPort: optional(typed.sshPort, (value) => portOf('--ssh-port', value, refuse)),
      user: optional(typed.user, (value) => userOf(value, refuse)),
      publicAddress: optional(typed.publicPort, (value) => addressOf(value, refuse)),
      dial: typed.dial ? 'always' : 'without-session',
      network: typed.network,
    },
    only: optional(typed.only, (value) => checksOf(value, refuse)),
    json: typed.json === true,
    watch: typed.watch === true,
    bundle: optional(typed.bundle, (value) => fileOf('--bundle', value, refuse)),
  };
}

function optional<T>(value: string | undefined, parse: (value: string) => T): T | null {
  return value === undefined ? null : parse(value);
}

function wrong(option: string, value: string, allowed: string, refuse: Refuse): never {
  return refuse(`error: option '${option}' cannot be ${printable(value)}; allowed: ${allowed}`);
}

function fileOf(option: string, value: string, refuse: Refuse): string {
  if (value === '' || value.includes('\0')) return wrong(option, value, 'the path of a file', refuse);
  return resolve(value);
}

function portOf(option: string, value: string, refuse: Refuse): number {
  return portNumber(value) ?? wrong(option, value, 'a whole number from 1 to 65535', refuse);
}

function portNumber(text: string): number | null {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  return port >= 1 && port <= 65_535 ? port : null;
}

/** It becomes part of an argument of sshd, where commas and equals signs separate. */
function userOf(value: string, refuse: Refuse): string {
  if (/^[\w.@\\+][\w.@\\+$-]{0,63}$/.test(value)) return value;
  return wrong('--user', value, 'the name of a user of this device, such as root', refuse);
}

function addressOf(value: string, refuse: Refuse): { host: string; port: number } {
  const [, v6, name, digits = ''] = /^(?:\[([0-9A-Fa-f:.]{2,45})\]|([\w.-]{1,253})):(\d+)$/.exec(value) ?? [];
  const host = v6 ?? name;
  const port = portNumber(digits);
  if (host !== undefined && port !== null) return { host, port };
  const allowed = 'HOST:PORT, as in meeting.example:9063, an IPv6 address in brackets';
  return wrong('--public-port', value, allowed, refuse);
}

/** Ids, or `sshd.*` for all that begin with it, in the order of `CHECK_IDS`. */
function checksOf(value: string, refuse: Refuse): CheckId[] {
  const groups = [...new Set(CHECK_IDS.map((id) => `${id.split('.')[0]}.*`))];
  const chosen = value.split(',').flatMap((word) => {
    const name = word.trim();
    const found = CHECK_IDS.filter((id) => id === name || (groups.includes(name) && id.startsWith(name.slice(0, -1))));
    if (found.length > 0) return found;
    const near = nearest(name, [...CHECK_IDS, ...groups]);
    const hint = near === null ? 'the ids are listed by: tunnel-agent diagnose --help' : `did you mean ${near}?`;
    return wrong('--only', name, `ids of checks, separated by commas, or all of a kind as in sshd.*; ${hint}`, refuse);
  });
  return CHECK_IDS.filter((id) => chosen.includes(id));
}
