import { spawn } from 'node:child_process';
import type { LoadOptions } from '../config/load.ts';
import type { DeviceOptions, DeviceStatus } from '../device.ts';
import type { Report } from '../diagnose/report.ts';
import { Failure } from '../support/failures.ts';
import { cleanText } from '../support/text.ts';
import { THREADS } from './guard.ts';

// The service makes its checks in a process of its own. A name that no server answers, or a dead mount, holds one of the
// four threads that a process of Node has for files and names, and a fault of a check would end the process: neither may
// happen to the one that holds the tunnel. Nor does it keep the memory that a run needs.

/** In the place of a command; for nobody to type. */
export const SELF_DIAGNOSIS = '--self-diagnosis';
/** The checks end after 12 s; a Pi takes a few to start the program. */
const LIMIT_MS = 45_000;
/** To end what was started, and itself, once it has answered or was told to end. */
const GRACE_MS = 1_500;
const MAX_REPORT_BYTES = 4 * 1024 * 1024;
const MAX_COMPLAINT_BYTES = 4 * 1024;

/** What the process is told, as one line of its standard input. Not its environment: tokens may stand in it. */
export interface Order {
  source: LoadOptions;
  status: DeviceStatus;
}

/** @param source of the configuration of the service, with the environment of its start */
export function examineInOwnProcess(source: LoadOptions): NonNullable<DeviceOptions['examine']> {
  return async (status, signal) => {
    const child = spawn(process.execPath, [...process.execArgv, process.argv[1] ?? '', SELF_DIAGNOSIS], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, UV_THREADPOOL_SIZE: THREADS },
    });
    let [report, complaint] = ['', ''];
    let timer: NodeJS.Timeout | undefined;
    const endWithin = (ms: number) => {
      clearTimeout(timer);
      timer = setTimeout(() => child.kill('SIGKILL'), ms);
    };
    const end = () => {
      child.kill('SIGTERM');
      endWithin(GRACE_MS);
    };
    endWithin(LIMIT_MS);
    signal.addEventListener('abort', end);
    if (signal.aborted) end();
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      report += text;
      if (report.length > MAX_REPORT_BYTES) child.kill('SIGKILL');
      else if (report.endsWith('\n')) endWithin(GRACE_MS);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      complaint = (complaint + text).slice(0, MAX_COMPLAINT_BYTES);
    });
    child.stdin.on('error', () => undefined); // it has ended before it read anything
    child.stdin.write(`${JSON.stringify({ source, status } satisfies Order)}\n`); // stays open: its end tells of ours
    try {
      await new Promise((resolve, reject) => {
        child.once('error', reject);
        child.once('close', resolve);
      });
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
    }
    return reportOf(report, complaint);
  };
}

function reportOf(text: string, complaint: string): Report {
  if (text.endsWith('\n')) return JSON.parse(text) as Report;
  const why = complaint === '' ? 'it was ended' : cleanText(complaint.trim(), 300);
  throw new Failure('internal.unexpected', `the process of the checks gave no report: ${why}`);
}
