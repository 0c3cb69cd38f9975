/** A change of pairing, or an attempt at one, as it is put on record (pairing: state machine 7). */
export interface AuditEntry {
  readonly what: 'key-set' | 'key-refused-pin' | 'pin-set' | 'pin-removed' | 'pin-locked' | 'opened' | 'reset';
  /** SHA256:… of the key that it was about; absent where it was about none. */
  readonly fingerprint?: string;
  /** The address it came from, `local`, `boot file` or `button`. */
  readonly source: string;
}
