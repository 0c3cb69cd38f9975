import { FAILURES } from '../support/failures.ts';
import type { Cause, PageStatus, PastFailure, Pin } from './status.ts';
import { down, sentence, type Tone, type Words } from './words.ts';

/** The one sentence on top, what it means for the reader, and what to do. */
export interface Headline {
  tone: Tone;
  /** The first of them is a whole sentence by itself: it is the title, too. */
  words: readonly [string, ...Words];
  lead: Words;
  remedy: string | null;
  /** What else the reader wants to know. */
  besides: Words;
}

/** The most important thing to know. Whoever wants to pair comes first; then what keeps a technician out. */
export function headlineOf(status: PageStatus): Headline {
  const failure = tunnelFailure(status);
  const unserved = servicesFailure(status);
  if (isOpen(status)) return openHeadline(status, failure !== null || unserved !== null);
  if (failure !== null) return failureHeadline(status, failure);
  if (unserved !== null) return failureHeadline(status, unserved);
  switch (status.pairing.tunnel) {
    case 'active':
      return connectedHeadline(status);
    case 'none':
      return absentHeadline(status);
    case 'unknown':
      return unknownHeadline(status);
  }
}

/** Whether the headline tells of the tunnel's failure, which then need not stand in its card. */
export function tellsOfTunnel(status: PageStatus): boolean {
  return !isOpen(status) && tunnelFailure(status) !== null;
}

/** Why the tunnel is down; null while it is up, and while its first attempt is under way. */
export function tunnelFailure({ tunnel }: PageStatus): PastFailure | null {
  return tunnel === null || tunnel.state === 'up' ? null : tunnel.lastFailure;
}

/** Why a connection through the tunnel came to nothing; null unless it is known that the next one will, too. */
function servicesFailure({ tunnel, diagnosis }: PageStatus): PastFailure | null {
  if (tunnel?.state !== 'up' || diagnosis === null || diagnosis.over) return null;
  return tunnel.localFailures[0] ?? null;
}

/** What keeps somebody out now, as the device has found out by itself; null where it does not know. */
export function presentCause({ diagnosis }: PageStatus): Cause | null {
  return diagnosis === null || diagnosis.over ? null : diagnosis;
}

/** Whether the headline tells of the cause, which then need not stand below it. */
export function tellsOfCause(status: PageStatus): boolean {
  return !isOpen(status) && (tunnelFailure(status) ?? servicesFailure(status)) !== null;
}

/** To anybody, or to whoever proves the PIN. */
const isOpen = ({ pairing }: PageStatus) => pairing.open || pairing.pinReady;

/** By code, the first that begins so. The failure's own sentence follows below it. */
const TROUBLES: readonly [string, string][] = [
  ['proxy.handshake-refused', 'The proxy refuses this device'],
  ['proxy.handshake', 'The proxy does not accept this device'],
  ['proxy.tls', 'No secure connection to the proxy'],
  ['proxy.not-protocol', 'Something else answers in place of the proxy'],
  ['proxy.', 'Cannot reach the proxy'],
  ['operator.paused', 'An operator has paused remote maintenance'],
  ['operator.not-authorized', 'This device is not authorized for remote maintenance'],
  ['operator.token-rotated', 'The token of this device was exchanged'],
  ['operator.', 'An operator has ended remote maintenance'],
  ['session.', 'The connection for remote maintenance was lost'],
  ['ssh.auth-refused', 'The SSH gateway refuses this device'],
  ['ssh.host-key', 'The SSH gateway is not the one that is expected'],
  ['ssh.forward-refused', 'The SSH gateway refuses the ports'],
  ...['dns', 'refused', 'unreachable', 'timeout', 'silent', 'not-ssh'].map((cause): [string, string] => [
    `ssh.${cause}`,
    'Cannot reach the SSH gateway',
  ]),
  ['target.', 'Remote maintenance does not get through'],
  ['ssh.target-failed', 'Remote maintenance does not get through'],
  ['identity.duplicate', 'Another device uses the same device key'],
];
const OTHER_TROUBLE = 'Remote maintenance does not work';

function failureHeadline(status: PageStatus, failure: PastFailure): Headline {
  const words = TROUBLES.find(([start]) => failure.code.startsWith(start))?.[1] ?? OTHER_TROUBLE;
  const { tunnel, opensInSeconds } = status.pairing;
  const besides: Words =
    tunnel === 'active'
      ? ['Home Assistant is connected all the same.']
      : opensInSeconds !== null
        ? ['Home Assistant is not connected; pairing opens in ', down(opensInSeconds), '.']
        : [];
  const cause = presentCause(status);
  const lead = [sentence(failure.sentence), ...(cause === null ? [] : [' The cause: ', sentence(cause.summary)])];
  return { tone: 'bad', words: [words], lead, remedy: cause?.remedy ?? failure.remedy, besides };
}

function openHeadline({ pairing }: PageStatus, inTrouble: boolean): Headline {
  const besides = inTrouble ? ['Remote maintenance does not work, see below.'] : [];
  const { open, openedLocally, pin, everPaired, key } = pairing;
  const headline = { tone: 'ready', remedy: null, besides } as const;
  if (!open) return { ...headline, ...withPin(pin) };
  if (openedLocally) {
    const lead = ['Start pairing in Home Assistant now. It was opened on the device itself, for one key.'];
    return { ...headline, words: ['Ready to pair', ' for another ', down(openedLocally.secondsLeft)], lead };
  }
  if (key !== null && !everPaired) {
    const lead = ['A key was received. Pairing stays open until Home Assistant connects with it.'];
    return { ...headline, words: ['Key received, waiting for Home Assistant'], lead };
  }
  if (everPaired) {
    const lead = 'Home Assistant has been away for longer than the pairing timeout.';
    const kept = key === null ? '' : ' Its key works until another one takes its place.';
    return { ...headline, words: ['Ready to pair again'], lead: [lead, kept] };
  }
  const lead = ['Start pairing in Home Assistant now. Whoever in this network asks first is paired.'];
  return { ...headline, words: ['Ready to pair'], lead };
}

/** Pairing is open to whoever proves the PIN, where there is one. */
function withPin(pin: Pin | null): Pick<Headline, 'tone' | 'words' | 'lead' | 'remedy'> {
  const none = { tone: 'bad', lead: ['So nobody can pair.'] } as const;
  if (pin === null) return { ...none, words: ['The PIN cannot be read'], remedy: FAILURES['state.unreadable'] };
  if (!pin.set) return { ...none, words: ['No PIN is set'], remedy: FAILURES['pairing.pin-missing'] };
  if (pin.locked) {
    const lead = ['Too many wrong PINs were tried. Until a new one is set nobody can pair.'];
    return { ...none, words: ['The PIN is locked'], lead, remedy: FAILURES['pairing.pin-locked'] };
  }
  const lead = ['Start pairing in Home Assistant now. It asks for the PIN of this device.'];
  return { tone: 'ready', words: ['Ready to pair with the PIN'], lead, remedy: null };
}

function connectedHeadline({ pairing: { key }, tunnel }: PageStatus): Headline {
  const headline = { tone: 'ok', remedy: null, besides: [] } as const;
  if (key === null) {
    const lead = ['Something is connected to the tunnel port, but this device holds no paired key.'];
    return { ...headline, tone: 'wait', words: ['Connected, but not paired'], lead };
  }
  if (tunnel === null) {
    const lead = ['Home Assistant is connected. Remote maintenance is not set up.'];
    return { ...headline, words: ['Paired and connected'], lead };
  }
  if (tunnel.state === 'up') {
    const lead = ['Home Assistant is connected, and remote maintenance can reach the device.'];
    return { ...headline, words: ['Paired and connected'], lead };
  }
  const lead = ['Home Assistant is connected. Remote maintenance is not ready yet.'];
  return { ...headline, tone: 'wait', words: ['Paired, connecting for remote maintenance'], lead };
}

function absentHeadline({ pairing: { policy, opensInSeconds, key } }: PageStatus): Headline {
  const waiting = key === null ? 'Waiting for Home Assistant' : 'Paired, waiting for Home Assistant';
  const comesBack = key === null ? '' : 'It only has to connect again with its key. ';
  const headline: Omit<Headline, 'lead'> = { tone: 'wait', words: [waiting], remedy: null, besides: [] };
  if (policy === 'locked') {
    const lead = [comesBack, 'Pairing is locked: nobody can pair until it is opened on the device itself.'];
    const remedy = 'On the device run: tunnel-agent pairing open';
    return key === null ? { ...headline, words: ['Pairing is locked'], lead, remedy } : { ...headline, lead, remedy };
  }
  if (opensInSeconds === null || opensInSeconds === 0) return { ...headline, lead: [comesBack, 'Pairing is closed.'] };
  const lead = [comesBack, 'Another one can pair when the time is up.'];
  return { ...headline, words: [waiting, ' — pairing opens in ', down(opensInSeconds)], lead };
}

function unknownHeadline({ monitor }: PageStatus): Headline {
  if (monitor?.kind !== 'fault') {
    const lead = ['The device has not looked at its connections yet. Pairing is closed until it has.'];
    return { tone: 'wait', words: ['Starting'], lead, remedy: null, besides: [] };
  }
  const lead = ['The device cannot tell whether Home Assistant is connected. Until it can, nobody can pair.'];
  return { tone: 'bad', words: ['Pairing is closed for safety'], lead, remedy: null, besides: [] };
}
