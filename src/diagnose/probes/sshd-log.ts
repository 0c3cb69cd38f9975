import { open } from 'node:fs/promises';
import { cleanText } from '../../support/text.ts';
import type { Facts, Probe } from '../facts.ts';
import { initSystem } from './init.ts';

const FILES = ['/var/log/auth.log', '/var/log/secure', '/var/log/messages', '/var/log/syslog'];
const TAIL_BYTES = 64 * 1024;
const TIMEOUT_MS = 2_000;

/** The last lines of sshd and dropbear in the log of this machine, the oldest first; empty where none can be read. */
export const sshdLog: Probe<string[]> = async (facts) => {
  const text = (await facts.get(initSystem)) === 'systemd' ? await journal(facts) : await plainLog(facts);
  return text.split('\n').filter((line) => /\b(?:sshd|sshd-session|dropbear)\b/.test(line));
};

async function journal(facts: Facts): Promise<string> {
  const names = ['sshd', 'sshd-session', 'dropbear'].flatMap((name) => ['-t', name]);
  const args = ['--no-pager', '--quiet', '-b', '-n', '200', '-o', 'short', ...names];
  const end = await facts.run('journalctl', args, TIMEOUT_MS);
  return end.kind === 'ended' && end.exitCode === 0 ? end.stdout : '';
}

async function plainLog(facts: Facts): Promise<string> {
  for (const path of FILES) {
    const text = await tail(path);
    if (/\b(?:sshd|dropbear)\b/.test(text)) return text;
  }
  const end = await facts.run('logread', [], TIMEOUT_MS); // BusyBox keeps it in memory
  return end.kind === 'ended' && end.exitCode === 0 ? end.stdout : '';
}

async function tail(path: string): Promise<string> {
  try {
    const file = await open(path);
    try {
      const { size } = await file.stat();
      const bytes = Buffer.alloc(Math.min(size, TAIL_BYTES));
      await file.read(bytes, 0, bytes.length, Math.max(0, size - TAIL_BYTES));
      return bytes.toString('utf8');
    } finally {
      await file.close();
    }
  } catch {
    return '';
  }
}

/** The last line of sshd that says this, as the end of an evidence; empty where there is none. */
export async function logged(facts: Facts, pattern: RegExp): Promise<string> {
  const line = (await facts.get(sshdLog)).findLast((each) => pattern.test(each));
  return line === undefined ? '' : `; log: ${cleanText(line)}`;
}
