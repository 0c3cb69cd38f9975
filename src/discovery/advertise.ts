import { networkInterfaces, hostname as systemHostname } from 'node:os';
import { isDeepStrictEqual } from 'node:util';
import type { Cancel, Clock } from '../support/clock.ts';
import { Failure } from '../support/failures.ts';
import type { Log } from '../support/log.ts';
import { withoutZone } from './addresses.ts';
import type { Identity } from './announcement.ts';
import { LinkAnnouncer } from './link-announcer.ts';
import { labelOf, nextNumber, numbered } from './names.ts';
import { familiesOf, presentLinks } from './socket.ts';

export interface AdvertiserOptions {
  tunnelPort: number;
  /** The port that HTTP listens on now, reachable from the network; null for none. */
  httpPort: () => number | null;
  model: string;
  clock: Clock;
  log: Log;
  /** 0 to 1. */
  random?: () => number;
  hostname?: () => string;
}

export interface AdvertiserStatus {
  /** As it is announced. */
  name: string;
  /** Somebody else has the name of this machine, so there is a number behind it. */
  renamed: boolean;
  interfaces: { name: string; addresses: string[]; state: 'claiming' | 'announced' | 'failed' }[];
  failure: Failure | null;
}

/** The interfaces, the name and the port are looked at this often: nobody tells when they change. */
const LOOK_MS = 5_000;
/** So many names are tried at once; after them somebody objects to all, and is to cost nothing (RFC 6762 8.1). */
const QUICK_NAMES = 10;
const SLOW_NAME_MS = 5_000;

/**
 * Makes the device be found by mDNS on every link, as links and addresses come and go. One announcer a link, made anew
 * when anything about the link changes.
 */
export class Advertiser {
  readonly #options: Required<AdvertiserOptions>;
  #announcers: LinkAnnouncer[] = [];
  /** Ends under way, of links that are gone. */
  readonly #ending = new Set<Promise<void>>();
  #identity: Identity;
  #label = '';
  #number = 1;
  #cancelLook: Cancel = () => undefined;
  #looking: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(options: AdvertiserOptions) {
    this.#options = { random: Math.random, hostname: systemHostname, ...options };
    this.#identity = this.#currentIdentity();
  }

  /** Resolves at once; without any network it waits for one. */
  start(): void {
    this.#looking = this.#look();
  }

  /** Says goodbye on every link, and waits until that is sent. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelLook();
    await this.#looking;
    await Promise.all([...this.#announcers.map((announcer) => announcer.stop({ goodbye: true })), ...this.#ending]);
    this.#announcers = [];
  }

  status(): AdvertiserStatus {
    const interfaces = this.#announcers.map((announcer) => ({
      name: announcer.link.name,
      addresses: [...announcer.link.ipv4, ...announcer.link.ipv6].map(({ address }) => address),
      state: announcer.status().state,
    }));
    const failure = this.#announcers.map((announcer) => announcer.status().failure).find((each) => each !== null);
    return {
      name: this.#identity.name,
      renamed: this.#number > 1,
      interfaces,
      failure: failure ?? (interfaces.length === 0 ? new Failure('mdns.no-interface', NO_INTERFACE) : null),
    };
  }

  /** Never rejects: when the system cannot tell its interfaces now (no descriptor is free), all stays as it is. */
  async #look(): Promise<void> {
    try {
      this.#followLinks();
      this.#followIdentity();
      await Promise.all(this.#announcers.map((announcer) => announcer.look()));
    } catch (error) {
      this.#options.log.debug({ err: error }, 'the interfaces cannot be read');
    }
    if (this.#stopped) return;
    this.#cancelLook = this.#options.clock.after(LOOK_MS, () => {
      this.#looking = this.#look();
    });
  }

  #followLinks(): void {
    const links = presentLinks().filter((link) => familiesOf(link).length > 0);
    const kept = this.#announcers.filter(({ link }) => links.some((present) => isDeepStrictEqual(present, link)));
    // Without a goodbye: the services do not end, and what is announced next takes the place of the old addresses.
    for (const gone of this.#announcers) if (!kept.includes(gone)) this.#end(gone);
    const added = links
      .filter((link) => !kept.some((announcer) => isDeepStrictEqual(announcer.link, link)))
      .map((link) => this.#createAnnouncer(link));
    this.#announcers = [...kept, ...added];
    for (const announcer of added) void announcer.announce(this.#identity);
  }

  #createAnnouncer(link: LinkAnnouncer['link']): LinkAnnouncer {
    const { clock, random, log } = this.#options;
    const onConflict = () => this.#rename(announcer);
    const announcer = new LinkAnnouncer({ link, clock, random, log, onConflict, isOwnAddress });
    return announcer;
  }

  #end(announcer: LinkAnnouncer): void {
    const ending = announcer.stop({ goodbye: false }).finally(() => this.#ending.delete(ending));
    this.#ending.add(ending);
  }

  #followIdentity(): void {
    const identity = this.#currentIdentity();
    if (!isDeepStrictEqual(identity, this.#identity)) this.#announce(identity);
  }

  #currentIdentity(): Identity {
    const { hostname, tunnelPort, httpPort, model } = this.#options;
    const label = labelOf(hostname());
    if (label !== this.#label) this.#number = 1;
    this.#label = label;
    return { name: numbered(label, this.#number), tunnelPort, httpPort: httpPort(), model };
  }

  /** On every link, so that the device has one name. */
  #rename(loser: LinkAnnouncer): void {
    const taken = this.#identity.name;
    this.#number = nextNumber(this.#number);
    loser.lose();
    this.#announce(this.#currentIdentity(), this.#number > QUICK_NAMES ? SLOW_NAME_MS : 0);
    this.#options.log.warn(
      { name: taken, instead: this.#identity.name, interface: loser.link.name },
      'another machine has this name, so the device takes the next one',
    );
  }

  #announce(identity: Identity, waitMs = 0): void {
    this.#identity = identity;
    for (const announcer of this.#announcers) void announcer.announce(identity, waitMs);
  }
}

const NO_INTERFACE = 'there is no network to announce the device in: no interface that is up has an address';

/** Asked for what the network says, so it must not throw; what cannot be told is no conflict. */
function isOwnAddress(address: string): boolean {
  const bare = withoutZone(address);
  try {
    return Object.values(networkInterfaces()).some((infos) => infos?.some((info) => info.address === bare));
  } catch {
    return true;
  }
}
