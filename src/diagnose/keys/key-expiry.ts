import type { AuthorizedKey } from '../sshd/authorized-keys.ts';

const DAY_MS = 24 * 60 * 60 * 1000;
const FORM = /^(\d{4})(\d{2})(\d{2})(?:(\d{2})(\d{2})(\d{2})?)?Z?$/;

/**
 * Whether a key is over by its option expiry-time (sshd(8)). The option may be in local time, so that a day is left to
 * doubt. Pure.
 */
export function isExpired({ options }: AuthorizedKey, nowMs: number): boolean {
  return options.some(({ name, value }) => {
    const parts = name === 'expiry-time' ? FORM.exec(value ?? '') : null;
    if (parts === null) return false;
    const [year = 0, month = 1, day = 1, hours = 0, minutes = 0, seconds = 0] = parts
      .slice(1)
      .map((part) => Number(part ?? 0));
    return nowMs - Date.UTC(year, month - 1, day, hours, minutes, seconds) > DAY_MS;
  });
}
