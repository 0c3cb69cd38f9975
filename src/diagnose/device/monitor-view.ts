import type { ServiceStatus } from '../tools.ts';

/** What is known at one moment of the paired tunnel, and of what the monitor makes of it. */
export interface MonitorView {
  readonly flag: 'present' | 'absent' | 'unreadable';
  /** Established connections that would count; null where netstat could not be read. */
  readonly tunnels: number | null;
  /** The number in since-connected, or null. */
  readonly written: number | null;
  readonly monitor: ServiceStatus['monitor'];
  /** What the service says that its monitor cannot do, or null. */
  readonly fault: string | null;
}

export type MonitorProblem =
  | { readonly kind: 'fault'; readonly why: string }
  | { readonly kind: 'stale' | 'missed' | 'early' }
  | { readonly kind: 'disagrees'; readonly state: string; readonly seen: string }
  | { readonly kind: 'hung'; readonly written: number; readonly counted: number };

/** A poll may wait for one that hangs and then hang itself, 3 s each; doubled, because a Pi is slow. */
const POLL_ALLOWANCE_MS = 12_000;

/** What does not fit together at this moment; null where all does. A moment later it may. */
export function judgeMonitor(
  view: MonitorView,
  { intervalMs }: { readonly intervalMs: number },
): MonitorProblem | null {
  const { flag, tunnels, written, monitor, fault } = view;
  if (flag === 'unreadable') return null; // run.dir tells
  if (monitor === null) return compare(flag, tunnels);
  if (monitor.kind === 'fault') return { kind: 'fault', why: fault ?? 'it does not say why' };
  if (monitor.kind === 'starting') return { kind: 'early' };
  const expected = monitor.kind === 'active' ? 'present' : 'absent';
  if (flag !== expected) return { kind: 'disagrees', seen: monitor.kind, state: flag };
  const counted = monitor.sinceConnectedSeconds;
  if (written !== null && Math.abs(counted - written) * 1000 > 3 * intervalMs + POLL_ALLOWANCE_MS) {
    return { kind: 'hung', written, counted };
  }
  // What the monitor has seen and does not count yet has not lasted long enough (ZEROFORCE_MONITOR_CONFIRM).
  if (tunnels === monitor.connections) return null;
  return compare(flag, tunnels);
}

function compare(flag: 'present' | 'absent', tunnels: number | null): MonitorProblem | null {
  if (tunnels === null) return null;
  if (flag === 'present') return tunnels === 0 ? { kind: 'stale' } : null;
  return tunnels === 0 ? null : { kind: 'missed' };
}
