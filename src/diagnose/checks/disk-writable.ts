import { existsSync } from 'node:fs';
import { lstat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { systemCode } from '../../support/failures.ts';
import { defineCheck } from '../check.ts';
import { describeRoom, scarce } from '../device/disk-room.ts';
import type { Facts } from '../facts.ts';
import { agentService } from '../probes/agent-service.ts';
import { tryWriting, type Writing } from '../probes/probe-file.ts';
import { type ServiceProcess, serviceProcess } from '../probes/service-processes.ts';

interface Place extends Writing {
  readonly what: keyof typeof OPTIONS;
  /** Where the service cannot write: whether this process can. */
  readonly outside: 'writable' | 'not writable';
  /** The user of the service, where that one may not write there. */
  readonly forbiddenTo: number | null;
}

export const diskWritable = defineCheck({
  id: 'disk.writable',
  title: 'the service can write where it has to',
  findings: {
    full: {
      status: 'fail',
      symptom: 'Pairing fails, a PIN is not accepted, or the file tunnel_active does not change.',
      meaning: 'The disk of the {what} {folder} is full: {room}',
      remedy: 'Make room there: df -h {folder}; du -xh {folder} | sort -h | tail',
    },
    noInodes: {
      status: 'fail',
      symptom: 'Pairing fails although `df -h` shows free space.',
      meaning: 'The disk of the {what} {folder} takes no more files: {room}',
      remedy: 'Remove files there, many small ones: df -i {folder}; find {folder} -xdev | wc -l',
    },
    readOnly: {
      status: 'fail',
      symptom: 'Pairing fails, or a restart forgets that the device was paired.',
      meaning: 'The {what} {folder} is read-only',
      remedy:
        'Mount it writable, or move it to a place that is (see {option} in docs/options.md); a disk that became read-only by itself may be dying: dmesg | tail -n 50; mount -o remount,rw {folder}',
    },
    sandboxed: {
      status: 'fail',
      symptom: 'Pairing fails, and everything can be written by hand.',
      meaning: 'The {what} {folder} is read-only for the service alone: its unit protects it',
      remedy:
        'Let the unit of the service write there, with the lines [Service] and BindPaths={folder}: {edit}; then: {restart}',
    },
    forbidden: {
      status: 'fail',
      symptom: 'Pairing fails, a PIN cannot be set, or a restart forgets that the device was paired.',
      meaning: 'The service is user {uid}, who may not write to the {what} {folder}',
      remedy: 'chown {uid} {folder}; or run the service as root; who may write there: ls -ld {folder}',
    },
    keyReadOnly: {
      status: 'warn',
      symptom: 'Pairing fails; whoever is paired comes in.',
      meaning: 'The {what} {folder} is read-only, so that nobody new can be paired',
      remedy:
        'If somebody is to be, set pairing.authorizedKeysFile to a place that is writable, or ZEROFORCE_PAIRING_POLICY=locked',
    },
    quota: {
      status: 'fail',
      symptom: 'Pairing fails although `df -h` shows free space.',
      meaning: 'The quota at the {what} {folder} is used up',
      remedy: 'Raise the quota, or remove files: quota; df -h {folder}',
    },
    broken: {
      status: 'fail',
      symptom: 'Pairing fails, and the log of the kernel has errors of the disk.',
      meaning: 'The {what} {folder} cannot be written: {why}',
      remedy: 'Check the disk, and exchange the card when it is dying: dmesg | tail -n 50; ls -ld {folder}',
    },
    nearlyFull: {
      status: 'warn',
      symptom: 'Nothing yet; soon the service cannot keep what it has to.',
      meaning: 'The disk of the {what} {folder} is nearly full: {room}',
      remedy: 'Make room there: df -h {folder}; df -i {folder}',
    },
    notPermitted: {
      status: 'unknown',
      symptom: 'The diagnosis is made by another user than root.',
      meaning: 'This user may not write to the {what} {folder}',
      remedy: 'Run it as root: sudo tunnel-agent diagnose',
    },
  },
  async run(facts, say) {
    const places = await lookAt(facts);
    const evidence = places.map(describe).join('\n');
    const failed = places.flatMap((place) => {
      const name = nameOf(place, facts.isRoot);
      // Then it is as it was asked for.
      if (name === 'keyReadOnly' && facts.config.pairing.policy === 'locked') return [];
      return name === null ? [] : [{ place, name }];
    });
    const { restart, edit } = await facts.get(agentService);
    const told = failed.toSorted((a, b) => RANKS.indexOf(a.name) - RANKS.indexOf(b.name))[0];
    if (told !== undefined) {
      const { what, folder, room, problem } = told.place;
      const why = problem?.why ?? '';
      const words = { what, folder, room: room === null ? why : describeRoom(room), why };
      return say.found(
        told.name,
        { ...words, option: OPTIONS[what], restart, edit, uid: told.place.forbiddenTo ?? '' },
        evidence,
      );
    }
    const tight = places.find(({ room }) => room !== null && scarce(room) !== null);
    if (tight?.room != null) {
      const { what, folder, room } = tight;
      return say.found('nearlyFull', { what, folder, room: describeRoom(room) }, evidence);
    }
    const isLocked = places.some(({ problem }) => problem !== null);
    return say.ok(
      isLocked
        ? 'state folder and run folder can be written; that of the key cannot, and pairing is locked'
        : 'state folder, run folder and the folder of the key can be written',
      evidence,
    );
  },
});

const OPTIONS = {
  'state folder': 'stateDir',
  'run folder': 'runDir',
  'folder of the key': 'pairing.authorizedKeysFile',
} as const;

/** What is told where several are found: what fails, then what somebody should look at, then what nobody could try. */
const RANKS = [
  'full',
  'noInodes',
  'quota',
  'broken',
  'sandboxed',
  'readOnly',
  'forbidden',
  'keyReadOnly',
  'notPermitted',
] as const;

function nameOf({ what, problem, outside, room, forbiddenTo }: Place, isRoot: boolean): (typeof RANKS)[number] | null {
  if (problem === null) return forbiddenTo === null ? null : 'forbidden';
  switch (problem.code) {
    case 'ENOSPC':
      return room !== null && room.files > 0 && room.freeFiles === 0 ? 'noInodes' : 'full';
    case 'EROFS':
      if (outside === 'writable') return 'sandboxed';
      // A root that is read-only on purpose keeps nobody out who is paired, or who comes by the tunnel.
      return what === 'folder of the key' ? 'keyReadOnly' : 'readOnly';
    case 'EDQUOT':
      return 'quota';
    case 'EACCES':
    case 'EPERM':
      return isRoot ? 'broken' : 'notPermitted';
    default:
      return 'broken';
  }
}

function describe({ what, folder, problem, room, forbiddenTo }: Place): string {
  const written = forbiddenTo === null ? 'a file was written and removed' : `user ${forbiddenTo} may not write there`;
  const state = problem?.why ?? written;
  return `${what} ${folder}: ${state}${room === null ? '' : `; ${describeRoom(room)}`}`;
}

/** The folders as the service sees them: its unit may show it others than this process has. */
async function lookAt(facts: Facts): Promise<Place[]> {
  const process = facts.isRoot ? await serviceProcess(facts) : undefined;
  const places = await placesIn(facts, process);
  // A service that ended meanwhile takes its view of the file systems with it.
  return process === undefined || existsSync(`/proc/${process.pid}/root/`) ? places : placesIn(facts, undefined);
}

async function placesIn(facts: Facts, process: ServiceProcess | undefined): Promise<Place[]> {
  const { runDir, stateDir, pairing } = facts.config;
  const root = process === undefined ? '' : `/proc/${process.pid}/root`;
  const places: Place[] = [];
  for (const [what, wanted] of [
    ['state folder', stateDir],
    ['run folder', runDir],
    ['folder of the key', dirname(pairing.authorizedKeysFile)],
  ] as const) {
    if (what === 'run folder' && !(await isFolderOrMissing(wanted))) continue; // run.dir tells about it
    const writing = await tryWriting(`${root}${wanted}`);
    const again = root !== '' && writing.problem?.code === 'EROFS' ? await tryWriting(wanted) : writing;
    const outside = again.problem === null ? 'writable' : 'not writable';
    const folder = writing.folder.slice(root.length) || '/';
    const forbiddenTo =
      writing.problem === null && process !== undefined ? await refusedTo(process, folder, facts) : null;
    places.push({ what, outside, ...writing, folder, forbiddenTo });
  }
  return places;
}

/** The user of the service, where the system says that this one may not write to the folder; null where it does not. */
async function refusedTo({ identity }: ServiceProcess, folder: string, facts: Facts): Promise<number | null> {
  if (identity === null || identity.uid === 0 || identity.isUnbound) return null;
  const { uid, gid, groups } = identity;
  const as = [
    `--reuid=${uid}`,
    `--regid=${gid}`,
    groups.length === 0 ? '--clear-groups' : `--groups=${groups.join(',')}`,
  ];
  // What it prints counts: a setpriv that knows no such options fails as well.
  const script = 'test -w "$1" && test -x "$1" && echo yes || echo no';
  const end = await facts.run('setpriv', [...as, 'sh', '-c', script, 'sh', folder], 2_000);
  return end.kind === 'ended' && end.stdout.trim() === 'no' ? uid : null;
}

async function isFolderOrMissing(path: string): Promise<boolean> {
  return lstat(path).then(
    (stats) => stats.isDirectory(),
    (error: unknown) => systemCode(error) === 'ENOENT',
  );
}
