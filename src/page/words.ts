/** A time that goes on by itself: whole seconds since something (`up`) or until something (`down`). */
export interface Span {
  count: 'up' | 'down';
  seconds: number;
}

/** A sentence with the times in it. */
export type Words = readonly (string | Span)[];

/** How a part does. The page never says it by colour alone: an icon and words say it, too. */
export type Tone = 'ok' | 'ready' | 'wait' | 'bad' | 'plain';

export const up = (seconds: number): Span => ({ count: 'up', seconds: Math.max(0, Math.floor(seconds)) });
export const down = (seconds: number): Span => ({ count: 'down', seconds: Math.max(0, Math.ceil(seconds)) });

/** `4:05`, `1:00:00`. */
export function countdown(seconds: number): string {
  const pad = (value: number) => String(value).padStart(2, '0');
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  return `${hours > 0 ? `${hours}:${pad(minutes % 60)}` : minutes}:${pad(seconds % 60)}`;
}

/** `the proxy refused` → `The proxy refused.`; a name or a command at the start stays as it is written. */
export function sentence(text: string): string {
  const start = /^(the|there|this|it|an?|no|another|nothing|something) /.test(text)
    ? text.charAt(0).toUpperCase() + text.slice(1)
    : text;
  return /[.!?\u2026]$/.test(start) ? start : `${start}.`;
}
