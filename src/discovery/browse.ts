import { type Clock, pause } from '../support/clock.ts';
import { asFailure, Failure } from '../support/failures.ts';
import type { Log } from '../support/log.ts';
import { type Packet, SERVICE_TYPES } from './packet.ts';
import { Findings, type FoundDevice } from './records.ts';
import { familiesOf, type MdnsSocket, openMdns, presentLinks } from './socket.ts';

export type { FoundDevice } from './records.ts';

/** Questions are repeated after so long, then after twice as long, and so on (RFC 6762 5.2). */
const REPEAT_MS = 1_000;
/** What is still missing of an answer is asked for together, shortly after it. */
const FOLLOW_UP_MS = 50;
/** So many times at most, whatever the answers are. */
const MAX_FOLLOW_UPS = 32;
/** In one packet; the rest waits for the next one. */
const MAX_QUESTIONS = 32;

/**
 * Looks for devices of both types on every link of this machine, until `timeoutMs` have passed or `signal` is aborted.
 * `onFound` hears of each device once, as soon as its addresses and its text are known; the result holds what is still
 * there at the end, and those that never told more than where they are.
 *
 * @throws Failure `mdns.no-interface` or `mdns.socket` when it cannot look anywhere
 */
export async function browse({
  timeoutMs,
  clock,
  signal,
  onFound,
  log,
}: {
  timeoutMs: number;
  clock: Clock;
  signal: AbortSignal;
  onFound?: (device: FoundDevice) => void;
  log: Log;
}): Promise<FoundDevice[]> {
  const endMs = clock.nowMs() + timeoutMs;
  const findings = new Findings();
  const told = new Set<string>();
  const done = new AbortController();
  /** None yet while they are being opened; the first one may hear something by then. */
  let sockets: MdnsSocket[] = [];
  let followUps = 0;
  let asking = false;

  const tell = () => {
    for (const device of findings.devices()) {
      const key = `${device.name}\n${device.host}\n${device.tunnelPort}`;
      if (told.has(key) || (device.httpPort === null && findings.questions().length > 0)) continue;
      told.add(key);
      onFound?.(device);
    }
  };
  const followUp = async () => {
    if (asking || followUps === MAX_FOLLOW_UPS || findings.questions().length === 0) return;
    asking = true;
    followUps += 1;
    await pause(clock, FOLLOW_UP_MS, done.signal);
    asking = false;
    if (!done.signal.aborted) await sendAll(sockets, { questions: findings.questions().slice(0, MAX_QUESTIONS) });
  };

  sockets = await openAll((packet, link, source) => {
    if (done.signal.aborted) return;
    findings.learn(packet, link, source);
    tell();
    void followUp();
  }, log);
  try {
    const questions = SERVICE_TYPES.map((type) => ({ name: `${type}.local`, type: 'PTR' }));
    for (let waitMs = REPEAT_MS; !signal.aborted && clock.nowMs() < endMs; waitMs *= 2) {
      await sendAll(sockets, { questions });
      await pause(clock, Math.min(waitMs, endMs - clock.nowMs()), signal);
    }
  } finally {
    done.abort();
    await Promise.all(sockets.map((socket) => socket.close()));
  }
  return findings.devices();
}

/** A socket for each link and family; those that cannot be opened are left out as long as there is one. */
async function openAll(
  learn: (packet: Packet, link: ReturnType<typeof presentLinks>[number], source: string) => void,
  log: Log,
): Promise<MdnsSocket[]> {
  const wanted = presentLinks().flatMap((link) => familiesOf(link).map((family) => ({ link, family })));
  if (wanted.length === 0) throw new Failure('mdns.no-interface', 'there is no network to look for devices in');
  const opened = await Promise.allSettled(
    wanted.map(({ link, family }) =>
      openMdns(link, family, { onResponse: (packet, { address }) => learn(packet, link, address) }),
    ),
  );
  const sockets: MdnsSocket[] = [];
  let failure: Failure | null = null;
  for (const result of opened) {
    if (result.status === 'fulfilled') sockets.push(result.value);
    else failure = asFailure(result.reason);
  }
  if (sockets.length === 0 && failure !== null) throw failure;
  if (failure !== null) log.debug({ code: failure.code }, failure.message);
  return sockets;
}

/** A link that lets nothing out must not keep the others from being asked. */
async function sendAll(sockets: readonly MdnsSocket[], packet: Packet): Promise<void> {
  await Promise.allSettled(sockets.map((socket) => socket.send(packet, 'query')));
}
