import type { ServerResponse } from 'node:http';
import type { Cancel, Clock } from '../support/clock.ts';
import type { Log } from '../support/log.ts';
import { isNews } from './news.ts';
import type { PageView } from './view.ts';

export interface EventHubOptions {
  look: () => Promise<PageView>;
  /** What a listener gets of a view: one line. */
  render: (view: PageView) => string;
  clock: Clock;
  log: Log;
}

/** Every phone of a home and some that went away unheard; each costs one of the listener's connections. */
export const MAX_LISTENERS = 16;
/** While somebody listens the device is looked at this often. */
const LOOK_MS = 1_000;
/** The page calls itself cut off after 45 s of silence. */
const BEAT_MS = 15_000;
/** A phone that left the network says no goodbye; the browser of one that is there comes back by itself. */
const LISTEN_MS = 10 * 60_000;
/** Some events that a slow listener has not taken yet; more, and it is cut off and may come back. */
const MAX_UNSENT_BYTES = 64 * 1024;

interface Listener {
  res: ServerResponse;
  untilMs: number;
  sent: PageView | null;
  sentAtMs: number;
  beatAtMs: number;
}

/** Server-sent events of the page: looks only while somebody listens, and sends only what is news to a listener. */
export class EventHub {
  readonly #options: EventHubOptions;
  readonly #listeners = new Set<Listener>();
  #cancel: Cancel = () => undefined;
  #looking = false;
  #stopped = false;

  constructor(options: EventHubOptions) {
    this.#options = options;
  }

  /**
   * Takes over an answer whose headers are not sent yet; false, and untouched, when there is no room. Nor is one taken
   * that waits behind another on its connection (HTTP pipelining): Node never tells it that the connection has ended.
   */
  add(res: ServerResponse): boolean {
    if (this.#stopped || this.#listeners.size >= MAX_LISTENERS || res.socket === null) return false;
    const nowMs = this.#options.clock.nowMs();
    const listener = { res, untilMs: nowMs + LISTEN_MS, sent: null, sentAtMs: nowMs, beatAtMs: nowMs };
    // Of no use for a further request, and a stop need not wait for it.
    res.writeHead(200, { 'Content-Type': 'text/event-stream; charset=utf-8', Connection: 'close' });
    res.write('retry: 2000\n\n');
    res.once('close', () => this.#remove(listener));
    this.#listeners.add(listener);
    if (!this.#looking) void this.#look();
    return true;
  }

  /** Ends all; nobody is taken any more. */
  stop(): void {
    this.#stopped = true;
    for (const listener of this.#listeners) {
      this.#remove(listener);
      listener.res.end();
    }
  }

  #remove(listener: Listener): void {
    this.#listeners.delete(listener);
    if (this.#listeners.size === 0) this.#cancel();
  }

  async #look(): Promise<void> {
    const { look, clock, log } = this.#options;
    this.#cancel();
    this.#looking = true;
    try {
      const view = await look();
      for (const listener of this.#listeners) this.#serve(listener, view);
    } catch (error) {
      log.error({ err: error }, 'the state could not be sent to the status page');
    }
    this.#looking = false;
    if (this.#listeners.size > 0) this.#cancel = clock.after(LOOK_MS, () => void this.#look());
  }

  #serve(listener: Listener, view: PageView): void {
    const { render, clock } = this.#options;
    const nowMs = clock.nowMs();
    const { res, sent, sentAtMs, beatAtMs, untilMs } = listener;
    if (res.writableLength > MAX_UNSENT_BYTES) {
      this.#remove(listener);
      res.destroy();
    } else if (nowMs >= untilMs) {
      this.#remove(listener); // the end of a connection whose phone is gone takes the system a quarter of an hour
      res.end();
    } else if (sent === null || isNews(sent, view, (nowMs - sentAtMs) / 1000)) {
      res.write(`data: ${render(view)}\n\n`);
      Object.assign(listener, { sent: view, sentAtMs: nowMs, beatAtMs: nowMs });
    } else if (nowMs - beatAtMs >= BEAT_MS) {
      res.write('event: beat\ndata:\n\n');
      listener.beatAtMs = nowMs;
    }
  }
}
