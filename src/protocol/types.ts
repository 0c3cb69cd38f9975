/** Names and numbers of the wire; README.md of this folder is their reference. */

/** Frame types (README 2.2, 4.3): one ASCII byte each; `p` is the answer to `P`. */
export const TYPE = {
  N: 0x4e,
  D: 0x44,
  C: 0x43,
  P: 0x50,
  p: 0x70,
  W: 0x57,
  A: 0x41,
  X: 0x58,
  F: 0x46,
  R: 0x52,
  G: 0x47,
} as const;

/** type (1) ‖ stream id (4) ‖ length (4), README 2.1. */
export const HEADER_BYTES = 9;
/** README 2.6: longest payload of any frame but D; a longer one ends the session when its header is read. */
export const CONTROL_PAYLOAD_MAX_BYTES = 1024;
/** README 4.6: longest D on a v1 stream. */
export const V1_DATA_MAX_BYTES = 16 * 1024;
/** README 2.8: deployed proxies have never met a longer D from an agent. */
export const LEGACY_DATA_MAX_BYTES = 4 * 1024;
/** Texts in A, R and G (README 4.3). */
export const TEXT_MAX_BYTES = 256;
/** Ids, lengths and credit are unsigned 32-bit. */
export const U32_MAX = 0xffff_ffff;

/** Results in A (README 4.4). */
export const OPEN_RESULT = { ok: 0, refused: 1, timeout: 2, 'not-allowed': 3, limit: 4 } as const;

/** Codes in R (README 4.5). */
export const RESET = {
  unspecified: 0,
  protocolError: 1,
  creditOverspent: 2,
  creditOverflow: 3,
  dataTooLong: 4,
  dataAfterEnd: 5,
  localError: 6,
} as const;

export type ResetCode = (typeof RESET)[keyof typeof RESET];

/** Who we are: the device's agent, which answers N, or the proxy's side, which sends it. */
export type Role = 'agent' | 'gateway';

/** The name of a code in one of the tables above, for sentences; unknown codes read as `code 9`. */
export function codeName(table: Readonly<Record<string, number>>, code: number): string {
  return Object.keys(table).find((name) => table[name] === code) ?? `code ${code}`;
}
