import type { AuditRecord } from '../device/pairing-parts.ts';
import type { DeviceStatus } from '../device.ts';
import { duration } from '../support/duration.ts';
import { keyLine, pairingLine } from './status-text.ts';
import type { Style } from './style.ts';

type PairingStatus = DeviceStatus['pairing'];

const line = (name: string, text: string) => `${name.padEnd(8)} ${text}`;

/** The state of pairing as a person reads it. */
export function pairingText(pairing: PairingStatus, style: Style): string {
  const lines = [
    line('pairing', pairingLine(pairing, style)),
    line('policy', pairing.policy),
    line('PIN', pin(pairing.pin, style)),
    line('key', keyLine(pairing.key)),
    line('tunnel', { active: 'a tunnel stands', none: 'none', unknown: 'nobody can tell' }[pairing.tunnel]),
    line('history', pairing.everPaired ? 'was paired before' : 'never paired'),
  ];
  return `${lines.join('\n')}\n`;
}

function pin(state: PairingStatus['pin'], style: Style): string {
  if (state === null) return style.bad('cannot be read');
  if (!state.set) return 'none';
  if (state.locked)
    return `${style.bad('locked')} after too many wrong proofs; set a new one: tunnel-agent pairing pin`;
  return `set; ${state.failuresLeft} wrong proofs until it is locked`;
}

/** The records as a table, in their order. The wall clock is told last: a Pi may not know the time. */
export function auditText(records: readonly AuditRecord[], style: Style): string {
  if (records.length === 0) return 'Nothing is on record.\n';
  const head = ['BOOT', 'UP', 'WHAT', 'SOURCE', 'KEY', 'CLOCK'];
  const rows = records.map(({ bootId, uptimeMs, what, source, fingerprint, time }) =>
    [bootId.slice(0, 8), duration(uptimeMs / 1000), what, source, fingerprint ?? '-', time].map(printable),
  );
  const widths = head.map((name, column) => Math.max(name.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const [first = '', ...rest] = [head, ...rows].map((row) =>
    row
      .map((text, column) => text.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  return `${[style.strong(first), ...rest].join('\n')}\n`;
}

/** What a client sent moves no cursor and hides no line. */
function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
