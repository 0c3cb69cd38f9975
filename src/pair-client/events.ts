import { FAILURES, type FailureCode } from '../support/failures.ts';
import { hostAndPort } from '../support/text.ts';

/** A device as it is shown for a choice. */
export interface ShownDevice {
  name: string;
  address: string;
  tunnelPort: number;
  httpPort: number | null;
  model: string | null;
}

/** What happens, in the words of docs/pair-client.md; the names and fields are a contract. */
export type PairEvent =
  | { event: 'identity'; file: string; fingerprint: string; made: boolean; protected: boolean }
  | { event: 'looking'; for: string | null }
  | { event: 'choose'; devices: ShownDevice[] }
  | { event: 'found'; name: string | null; address: string; tunnelPort: number; httpPort: number; model: string | null }
  | { event: 'connecting'; address: string; tunnelPort: number }
  | { event: 'refused'; sentence: string }
  | { event: 'waiting'; reason: WaitingReason; seconds: number; version: string | null; policy: string | null }
  | { event: 'paired'; by: 'setkey' | 'pin' }
  | { event: 'connected'; address: string; tunnelPort: number; firstUse: boolean }
  | { event: 'forward'; listen: string; target: string }
  | { event: 'note'; code: FailureCode; sentence: string }
  | { event: 'lost'; heldSeconds: number; sentence: string }
  | { event: 'retry'; code: FailureCode; sentence: string; seconds: number }
  | { event: 'verified' }
  | { event: 'failed'; code: FailureCode; sentence: string; exitCode: number }
  | { event: 'stopped'; signal: string; exitCode: number };

export type WaitingReason = 'closed' | 'pin-closed' | 'locked' | 'overtaken' | 'busy';

/** One line of `--json`; `time` is the wall clock, for people. */
export function jsonLine(event: PairEvent, time: Date): string {
  const remedy = 'code' in event ? { remedy: FAILURES[event.code] } : {};
  return JSON.stringify({ time: time.toISOString(), ...event, ...remedy });
}

const WAITING: Record<WaitingReason, string> = {
  closed:
    'pairing is closed; it opens when the tunnel of the client that is paired now has been gone for a while (10 minutes unless set otherwise)',
  'pin-closed':
    'the device wants its PIN, but does not take it now: its tunnel stands or was lost a moment ago, or it is locked',
  locked: 'pairing is locked; open it on the device: tunnel-agent pairing open',
  overtaken: 'the device took our key and now refuses it: another client has probably paired after us',
  busy: 'the device wants fewer requests',
};

/** The event as a person reads it: a line, a list where something is to be chosen; under trouble what to do. */
export function humanText(event: PairEvent): string {
  switch (event.event) {
    case 'identity':
      return [
        `${event.made ? 'made the key' : 'key'} ${event.file} (${event.fingerprint})`,
        ...(event.protected ? [`others could read ${event.file}; that was changed`] : []),
      ].join('\n');
    case 'looking':
      return event.for === null ? 'looking for devices in the network' : `looking for ${event.for} in the network`;
    case 'choose':
      return ['found several devices:', ...event.devices.map(deviceLine)].join('\n');
    case 'found': {
      const called = event.name === null ? '' : `${event.name} at `;
      const model = event.model === null ? '' : ` (${event.model})`;
      return `device: ${called}${event.address}${model}, tunnel port ${event.tunnelPort}, pairing port ${event.httpPort}`;
    }
    case 'connecting':
      return `connecting by ssh to ${hostAndPort(event.address, event.tunnelPort)}`;
    case 'refused':
      return 'the device does not know our key (yet): pairing is needed';
    case 'waiting': {
      const version = event.version === null ? '' : `version ${event.version}`;
      const policy = event.policy === null ? '' : `policy ${event.policy}`;
      const known = [version, policy].filter((text) => text !== '').join(', ');
      return `waiting: ${WAITING[event.reason]}${known === '' ? '' : ` [${known}]`}`;
    }
    case 'paired':
      return event.by === 'pin'
        ? 'paired: the device accepted the PIN and took our key'
        : 'paired: the device took our key';
    case 'connected':
      return `connected: the tunnel to ${hostAndPort(event.address, event.tunnelPort)} stands${event.firstUse ? '; its host key is remembered from now on' : ''}`;
    case 'forward':
      return `forward: ${event.listen} here is ${event.target} on the device`;
    case 'note':
      return `note: ${event.sentence}\n  ${event.code}: ${FAILURES[event.code]}`;
    case 'lost':
      return `lost: the tunnel stood for ${event.heldSeconds} s; ${event.sentence}`;
    case 'retry':
      return `trouble: ${event.sentence}; trying again in ${event.seconds} s\n  ${event.code}: ${FAILURES[event.code]}`;
    case 'verified':
      return 'done: the device accepts our key';
    case 'failed':
      return `failed: ${event.sentence}\n  ${event.code}: ${FAILURES[event.code]}`;
    case 'stopped':
      return `stopped by ${event.signal}`;
  }
}

function deviceLine({ name, address, tunnelPort, model }: ShownDevice, index: number): string {
  return `  ${index + 1}  ${name}  ${hostAndPort(address, tunnelPort)}${model === null ? '' : `  ${model}`}`;
}

/** What comes again with every attempt, and needs to be said only when it changes or after a while. */
const REPEATING: ReadonlySet<PairEvent['event']> = new Set([
  'looking',
  'found',
  'connecting',
  'refused',
  'waiting',
  'retry',
]);
const SAY_AGAIN_MS = 10 * 60_000;

/** Passes events on, but not the same one every few seconds: a device may be off for months. */
export function withoutRepeats(emit: (event: PairEvent) => void, nowMs: () => number): (event: PairEvent) => void {
  const said = new Map<string, { what: string; atMs: number }>();
  return (event) => {
    if (!REPEATING.has(event.event)) {
      said.clear();
      return emit(event);
    }
    const what = JSON.stringify({ ...event, seconds: null });
    const before = said.get(event.event);
    if (before?.what === what && nowMs() - before.atMs < SAY_AGAIN_MS) return;
    said.set(event.event, { what, atMs: nowMs() });
    emit(event);
  };
}
