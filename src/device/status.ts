import type { MeetingStatus } from '../meeting/client.ts';
import type { PairingStatus } from '../pairing/pairing.ts';
import type { FailureCode } from '../support/failures.ts';
import type { TunnelStatus } from '../tunnel/agent.ts';
import type { Diagnosis } from './diagnosis.ts';

/** What `tunnel-agent status --json` prints, and what the status page is made of. Without secrets. */
export interface DeviceStatus {
  version: string;
  pid: number;
  hostname: string;
  uptimeSeconds: number;
  pairing: PairingStatus;
  /** null with an outside monitor. */
  monitor: {
    kind: 'active' | 'none' | 'fault' | 'starting';
    connections: number;
    sinceConnectedSeconds: number;
  } | null;
  http: { host: string; port: number } | null;
  /** null where the device does not announce itself. */
  mdns: {
    name: string;
    renamed: boolean;
    interfaces: { name: string; addresses: string[]; state: 'claiming' | 'announced' | 'failed' }[];
    /** The code of what stands in `faults`, too. */
    failure: FailureCode | null;
  } | null;
  /** null where the service runs pairing alone. */
  tunnel: TunnelStatus | null;
  /** null without an address of the Meeting API, or without an identity. */
  meetingApi: MeetingStatus | null;
  /** What does not work now and is tried again; the tunnel's own failures stand in `tunnel`. */
  faults: Told[];
  /** The cause that the service found by itself, the last time that somebody was kept out; null where it found none. */
  diagnosis: Diagnosis | null;
  /** What is to be known and is no fault: that the last good configuration runs, for example. */
  notices: Told[];
}

/** A failure or a notice, in words, with what to do. */
export interface Told {
  code: FailureCode;
  sentence: string;
  remedy: string;
}
