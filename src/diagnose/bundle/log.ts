import { readlinkSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { fileErrorReason } from '../../support/atomic-file.ts';
import type { Facts } from '../facts.ts';
import { serviceProcesses } from '../probes/service-processes.ts';
import { endOf, firstOf, found, type Part, program, REASONS } from './parts.ts';

const LINES = 2_000;
/** Where that many are too long. */
const FEW_LINES = 300;
const MAX_FILE_BYTES = 4 * 1024 * 1024;
/** Where the daemons of the distributions and of BusyBox write. */
const LOG_FILES = [
  '/var/log/messages',
  '/var/log/syslog',
  '/var/log/auth.log',
  '/var/log/secure',
  '/var/log/daemon.log',
];
const UNITS = ['zeroforce*', 'tunnel-agent*', 'beamer*', 'ssh', 'ssh@*', 'sshd', 'sshd@*', 'dropbear*'];
/** Lines of our service (its own are JSON), and of the SSH servers. */
const OURS = /zeroforce|tunnel-agent|beamer|"level":"|\b(?:sshd(?:-session|-auth)?|dropbear)\b/;

/** The last lines of our service and of the SSH servers, wherever this machine keeps them. */
export const LOG_PARTS: readonly Part[] = [
  firstOf(journal(LINES), journal(FEW_LINES)),
  found('log files of the system', systemLog),
  found('logread', async (facts) => {
    const end = await facts.run('logread', []);
    if (end.kind === 'ended' && end.exitCode === 0) return ourLines(end.stdout);
    throw new Error(end.kind === 'ended' ? end.stderr.trim() : REASONS[end.kind]);
  }),
  found('standard output of the service', standardOutput),
];

function journal(lines: number): Part {
  const units = UNITS.flatMap((unit) => ['-u', unit]);
  return program('journalctl', '--no-pager', '--quiet', '-n', String(lines), '-o', 'short-iso', ...units);
}

async function systemLog(): Promise<string> {
  const texts: string[] = [];
  const reasons: string[] = [];
  for (const path of LOG_FILES) {
    try {
      texts.push(`--- ${path}\n${ourLines(await endOf(path, MAX_FILE_BYTES))}`);
    } catch (error) {
      reasons.push(`${path}: ${fileErrorReason(error)}`);
    }
  }
  if (texts.length === 0) throw new Error(reasons.join('; '));
  return texts.join('\n');
}

/** Where the service itself writes its log, and the end of it where that is a file. */
async function standardOutput(facts: Facts): Promise<string> {
  const processes = await facts.get(serviceProcesses);
  if (processes.length === 0) throw new Error('no service runs');
  const texts = await Promise.all(
    processes.map(async ({ pid }) => {
      const target = readlinkSync(`/proc/${pid}/fd/1`);
      if (target === '/dev/null') return `process ${pid} writes its log to /dev/null: nobody keeps it`;
      const where = `process ${pid} writes its log to ${target}`;
      if (!target.startsWith('/') || target.startsWith('/dev/') || !(await isWrittenTo(pid))) return where;
      return `${where}:\n${lastLines(await endOf(`/proc/${pid}/fd/1`, MAX_FILE_BYTES))}`;
    }),
  );
  return texts.join('\n');
}

/** O_ACCMODE of open(2): not 0 where it may be written. */
const ACCESS_MODE = 0o3;

/** With O_PATH anybody can hold a file that he may not open: one that is written to was opened with the right to do so. */
async function isWrittenTo(pid: number): Promise<boolean> {
  const flags = /^flags:\s*([0-7]+)$/m.exec(await readFile(`/proc/${pid}/fdinfo/1`, 'latin1'))?.[1] ?? '0';
  return (Number.parseInt(flags, 8) & ACCESS_MODE) !== 0;
}

function ourLines(text: string): string {
  const lines = text.split('\n').filter((line) => OURS.test(line));
  return lines.length === 0 ? '(no line of our service or of an SSH server)' : lines.slice(-LINES).join('\n');
}

function lastLines(text: string): string {
  return text.split('\n').slice(-LINES).join('\n');
}
