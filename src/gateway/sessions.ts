import type { Session } from './session.ts';

/** Who is online: one session a device, whichever entry it came through. The last one wins. */
export class Sessions {
  readonly #current = new Map<string, Session>();

  current(deviceKey: string): Session | null {
    return this.#current.get(deviceKey) ?? null;
  }

  all(): Session[] {
    return [...this.#current.values()];
  }

  /**
   * The device is online through this session. Gives the one that it replaced, which was told to end with
   * `session_replaced` and takes nothing further.
   */
  set(session: Session): Session | null {
    const older = this.current(session.deviceKey);
    if (older === session) return null;
    // In this order: however soon the older reports its end, it is no longer the current one, so that its end removes
    // nobody and the device is never offline in between.
    this.#current.set(session.deviceKey, session);
    older?.end('session_replaced');
    return older;
  }

  /** The session is over. False where it was not the current one: then the device is as online as before. */
  remove(session: Session): boolean {
    return this.current(session.deviceKey) === session && this.#current.delete(session.deviceKey);
  }
}
