import { readFileSync } from 'node:fs';

/** Where the kernel tells what the board calls itself; ends with a NUL. */
const MODEL_FILE = '/proc/device-tree/model';
/** As in the configuration; a text of mDNS holds 255 bytes. */
const MAX_LENGTH = 60;

/** What kind of device this is: as configured, else as the board says, else `unknown`. */
export function readModel(configured: string | null, file = MODEL_FILE): string {
  if (configured !== null) return configured;
  try {
    return modelFrom(readFileSync(file, 'utf8'));
  } catch {
    return 'unknown';
  }
}

function modelFrom(text: string): string {
  const printable = text.replace(/[\u0000-\u001f\u007f-\u009f\ufffd]+/g, ' ').trim();
  return printable.slice(0, MAX_LENGTH).trim() || 'unknown';
}
