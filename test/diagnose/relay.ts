import type { Socket } from 'node:net';

/** Leads each of two connections to the other; an end or a reset of one is the end of both. */
export function relay(near: Socket, far: Socket): void {
  for (const [from, to] of [
    [near, far],
    [far, near],
  ] as const) {
    from.on('error', () => to.destroy());
    from.on('close', () => to.destroy());
    from.pipe(to);
  }
}
