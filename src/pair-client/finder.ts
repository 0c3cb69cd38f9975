import { lookup } from 'node:dns/promises';
import { isLinkLocal } from '../discovery/addresses.ts';
import { browse, type FoundDevice } from '../discovery/browse.ts';
import { abortScope } from '../support/abort-scope.ts';
import { type Cancel, type Clock, pause } from '../support/clock.ts';
import { asFailure, Failure } from '../support/failures.ts';
import type { Log } from '../support/log.ts';
import type { PairEvent, ShownDevice } from './events.ts';
import { isNamed, select } from './select.ts';
import type { Target } from './target.ts';

/** Where the device is, as far as is known. */
export interface Place {
  /** Its instance name; null where nobody was asked. */
  name: string | null;
  /** At least one, the best first. A host name is looked up by whoever connects, anew each time. */
  addresses: readonly string[];
  tunnelPort: number;
  httpPort: number;
  /** In front of the routes of pairing. */
  path: string;
  model: string | null;
  /** Whether it is the one that was asked for; else its host key decides. */
  sought: boolean;
}

export interface FinderOptions {
  target: Target;
  /** null: what the device announces, else the default. */
  httpPort: number | null;
  tunnelPort: number | null;
  /** Lets the user choose one of several, by its place in the list; null where nobody is there to choose. */
  choose: ((devices: readonly ShownDevice[], signal: AbortSignal) => Promise<number | null>) | null;
  emit: (event: PairEvent) => void;
  clock: Clock;
  log: Log;
}

const TUNNEL_PORT = 8007;
const HTTP_PORT = 5000;
const PATH = '/zeroforce';
/** Answers to the first question come within a second; the second question is for those that were lost. */
const BROWSE_MS = 3_000;
/** For the answers of the device over its other links and families, once the first has come. */
const MORE_ADDRESSES_MS = 250;

/** Finds the device that is meant, again and again: its address may change. */
export class Finder {
  readonly #options: FinderOptions;
  readonly #signal: AbortSignal;
  /** Where no device is named: the one that was connected with, or chosen, before. */
  remembered: string | null = null;

  constructor(options: FinderOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
  }

  /**
   * The device, or why there is none.
   * @throws Failure `pair.several`
   */
  async find(): Promise<Place | { why: string }> {
    const { target, tunnelPort, httpPort } = this.#options;
    const found = target.kind === 'host' ? hostPlace(target.host) : await this.#lookFor(target);
    if ('why' in found) return found;
    const ofTarget = target.kind === 'any' ? null : target.tunnelPort;
    return {
      ...found,
      tunnelPort: tunnelPort ?? ofTarget ?? found.tunnelPort,
      httpPort: httpPort ?? found.httpPort,
    };
  }

  async #lookFor(target: Exclude<Target, { kind: 'host' }>): Promise<Place | { why: string }> {
    const wanted = target.kind === 'name' ? target.name : this.remembered;
    this.#options.emit({ event: 'looking', for: wanted });
    const devices = await this.#browse(wanted);
    const selection = select(target, devices, this.remembered);
    switch (selection.kind) {
      case 'one':
        return devicePlace(selection.device, selection.sought);
      case 'several': {
        const device = await this.#choose(selection.devices);
        this.remembered = device.name;
        return devicePlace(device, true);
      }
      case 'none': {
        if (target.kind === 'name' && (await this.#isKnownToSystem(target.name))) return hostPlace(target.name);
        const what = wanted === null ? 'no device answers by mDNS' : `no device ${wanted} answers by mDNS`;
        const others = devices.map(({ name }) => name).join(', ');
        return { why: others === '' ? what : `${what}; others do: ${others}` };
      }
    }
  }

  /** Until the one that is wanted has answered, or all had the time to. */
  async #browse(wanted: string | null): Promise<FoundDevice[]> {
    const { clock, log, emit } = this.#options;
    const { scope, release } = abortScope(this.#signal);
    let cancel: Cancel = () => undefined;
    const onFound = (device: FoundDevice) => {
      if (wanted === null || !isNamed(device, wanted)) return;
      cancel();
      cancel = clock.after(MORE_ADDRESSES_MS, () => scope.abort());
    };
    try {
      return await browse({ timeoutMs: BROWSE_MS, clock, signal: scope.signal, onFound, log });
    } catch (error) {
      const { code, message } = asFailure(error);
      emit({ event: 'note', code, sentence: message });
      return [];
    } finally {
      cancel();
      release();
    }
  }

  /** A short name may stand in /etc/hosts or in the local DNS; one below `.local` is known where nss-mdns is. */
  async #isKnownToSystem(name: string): Promise<boolean> {
    const known = lookup(name).then(
      () => true,
      () => false,
    );
    return await Promise.race([known, pause(this.#options.clock, BROWSE_MS, this.#signal).then(() => false)]);
  }

  async #choose(devices: readonly FoundDevice[]): Promise<FoundDevice> {
    const shown = devices.map(({ name, addresses, tunnelPort, httpPort, model }) => {
      return { name, address: addresses[0] ?? '', tunnelPort, httpPort, model };
    });
    this.#options.emit({ event: 'choose', devices: shown });
    const index = (await this.#options.choose?.(shown, this.#signal)) ?? null;
    const device = index === null ? undefined : devices[index];
    if (device !== undefined) return device;
    throw new Failure('pair.several', `there are several devices: ${devices.map(({ name }) => name).join(', ')}`);
  }
}

function devicePlace(device: FoundDevice, sought: boolean): Place {
  const { name, tunnelPort, httpPort, path, model } = device;
  // Older firmware listens on IPv4 alone, whichever way its answer came.
  const addresses = device.addresses.toSorted((a, b) => Number(isLinkLocal(a)) - Number(isLinkLocal(b)));
  return { name, addresses, tunnelPort, httpPort: httpPort ?? HTTP_PORT, path, model, sought };
}

function hostPlace(host: string): Place {
  const defaults = { tunnelPort: TUNNEL_PORT, httpPort: HTTP_PORT, path: PATH, model: null };
  return { name: null, addresses: [host], sought: true, ...defaults };
}
