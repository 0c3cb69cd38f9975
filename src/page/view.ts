import { counted, hostAndPort } from '../support/text.ts';
import { type Headline, headlineOf, presentCause, tellsOfCause, tellsOfTunnel, tunnelFailure } from './headline.ts';
import type { PageStatus, PastFailure, Pin } from './status.ts';
import { down, sentence, type Tone, up, type Words } from './words.ts';

export interface Row {
  name: string;
  words: Words;
  /** Shown letter by letter, to be compared: a fingerprint, an address. */
  exact?: boolean;
}

/** Something that does not work, and what to do. */
export interface Trouble {
  when: Words;
  sentence: string;
  remedy: string | null;
}

export interface Card {
  title: string;
  tone: Tone;
  /** Null where there is nothing to say but the rows. */
  state: Words | null;
  rows: readonly Row[];
  trouble: Trouble | null;
}

/** Everything that stands on the page, in its order. Text is as it came; html.ts escapes it. */
export interface PageView {
  hostname: string;
  model: string | null;
  headline: Headline;
  faults: readonly Trouble[];
  cards: readonly Card[];
  notices: readonly Trouble[];
}

/** One or two slips are nobody's attack; the PIN begins with 20. */
const FAILURES_WORTH_TELLING = 18;

/** What the page shows of a status. Pure. */
export function viewOf(status: PageStatus): PageView {
  return {
    hostname: status.hostname,
    model: status.model,
    headline: headlineOf(status),
    faults: [...causeTrouble(status), ...status.faults.map(toTrouble)],
    cards: [pairingCard(status), tunnelCard(status), ...meetingCard(status), keyCard(status), deviceCard(status)],
    notices: [...pastCause(status), ...status.notices.map(toTrouble)],
  };
}

function pairingCard({ pairing, monitor }: PageStatus): Card {
  const { policy, open, openedLocally, pinReady, pin, reason, opensInSeconds, tunnel } = pairing;
  const who = {
    open: 'anybody in this network',
    pin: 'whoever knows the PIN',
    locked: 'nobody, until it is opened on the device',
  };
  const present: Record<typeof tunnel, Words> = {
    active: ['connected'],
    none: monitor?.kind === 'none' ? ['not connected for ', up(monitor.sinceConnectedSeconds)] : ['not connected'],
    unknown: ['not known'],
  };
  const rows: Row[] = [
    { name: 'Home Assistant', words: present[tunnel] },
    { name: 'Who may pair', words: [openedLocally === null ? who[policy] : 'anybody in this network, once'] },
  ];
  if (policy === 'pin' && pin?.set) rows.push({ name: 'PIN', words: [pinState(pin)] });
  const card = { title: 'Pairing', rows, trouble: null };
  if (open) return { ...card, tone: 'ready', state: ['Open: ', reason] };
  if (pinReady) {
    const usable = pin?.set === true && !pin.locked;
    return {
      ...card,
      tone: usable ? 'ready' : 'bad',
      state: [usable ? 'Open with the PIN' : 'Closed: no PIN can be used'],
    };
  }
  if (opensInSeconds !== null && opensInSeconds > 0) {
    return { ...card, tone: 'wait', state: ['Closed, opens in ', down(opensInSeconds)] };
  }
  return { ...card, tone: tunnel === 'unknown' ? 'wait' : 'plain', state: ['Closed: ', reason] };
}

function pinState({ failuresLeft, locked }: Pin): string {
  if (locked) return 'locked after too many wrong ones';
  return failuresLeft < FAILURES_WORTH_TELLING ? `set; locked after ${failuresLeft} more wrong ones` : 'set';
}

function tunnelCard(status: PageStatus): Card {
  const { tunnel } = status;
  const title = 'Remote maintenance';
  if (tunnel === null) {
    const state = ['Not set up: the device works in the home network alone'];
    return { title, tone: 'plain', state, rows: [], trouble: null };
  }
  const { transport, proxy, forwards, streams, lastFailure, localFailures } = tunnel;
  const address = { words: [hostAndPort(proxy.host, proxy.port)], exact: true };
  const rows: Row[] =
    transport === 'ssh'
      ? [{ name: 'SSH gateway', ...address }]
      : [
          { name: 'Proxy', ...address },
          { name: 'Encryption', words: [proxy.tls ? 'TLS' : 'none'] },
        ];
  if (forwards.length > 0) {
    rows.push({
      name: 'Ports there',
      words: [forwards.map(({ name, remotePort }) => `${remotePort} (${name})`).join(', ')],
    });
  }
  if (tunnel.state === 'up') rows.push({ name: 'In use by', words: [counted(streams, 'connection')] });
  const trouble = tellsOfTunnel(status) ? null : lastTrouble(localFailures[0] ?? lastFailure);
  return { title, tone: tunnelTone(status), state: tunnelState(tunnel), rows, trouble };
}

function tunnelTone(status: PageStatus): Tone {
  if (status.tunnel?.state === 'up') return 'ok';
  return tunnelFailure(status) !== null ? 'bad' : 'wait';
}

function tunnelState({ state, inStateMs, nextAttemptInMs }: NonNullable<PageStatus['tunnel']>): Words {
  switch (state) {
    case 'up':
      return ['Connected for ', up(inStateMs / 1000)];
    case 'connecting':
      return ['Connecting'];
    case 'waiting':
      return ['Not connected, next attempt in ', down((nextAttemptInMs ?? 0) / 1000)];
    case 'stopped':
      return ['Stopped'];
  }
}

function meetingCard({ meetingApi }: PageStatus): Card[] {
  if (meetingApi === null) return [];
  const { state, lastHeartbeat } = meetingApi;
  const card = { title: 'Meeting server', rows: [], trouble: null };
  const heard: Words = lastHeartbeat === null ? [] : [', heard from ', up(lastHeartbeat.agoMs / 1000), ' ago'];
  switch (state) {
    case 'online':
      return [{ ...card, tone: 'ok', state: ['Online', ...heard] }];
    case 'failing':
      return [{ ...card, tone: 'bad', state: ['Does not work, see above', ...heard] }];
    case 'starting':
      return [{ ...card, tone: 'wait', state: ['Connecting'] }];
    case 'stopped':
      return [{ ...card, tone: 'plain', state: ['Stopped'] }];
  }
}

/** What the device found out by itself, where the headline does not tell of it. */
function causeTrouble(status: PageStatus): Trouble[] {
  const cause = presentCause(status);
  if (cause === null || tellsOfCause(status)) return [];
  const { summary, remedy, agoMs } = cause;
  return [{ when: ['The cause, found ', up(agoMs / 1000), ' ago'], sentence: sentence(summary), remedy }];
}

/** A technician who asks why the device was away last night finds it here. */
function pastCause({ diagnosis }: PageStatus): Trouble[] {
  if (diagnosis === null || !diagnosis.over) return [];
  const { summary, remedy, agoMs } = diagnosis;
  return [{ when: ['Over now, found ', up(agoMs / 1000), ' ago'], sentence: sentence(summary), remedy }];
}

function toTrouble(failure: { sentence: string; remedy: string }): Trouble {
  return { when: [], sentence: sentence(failure.sentence), remedy: failure.remedy };
}

function lastTrouble(failure: PastFailure | null): Trouble | null {
  if (failure === null) return null;
  return { ...toTrouble(failure), when: ['Last failure ', up(failure.agoMs / 1000), ' ago'] };
}

function keyCard({ pairing: { key } }: PageStatus): Card {
  const card = { title: 'Paired key', rows: [], trouble: null };
  if (key === null) return { ...card, tone: 'plain', state: ['None yet'] };
  if ('failure' in key) return { ...card, tone: 'bad', state: ['Not known: ', key.failure] };
  const rows: Row[] = [
    { name: 'Type', words: [key.type], exact: true },
    { name: 'Fingerprint', words: [key.fingerprint], exact: true },
  ];
  return { ...card, tone: 'ok', state: ['Installed'], rows };
}

function deviceCard({ hostname, mdns, model, version, deviceKey, uptimeSeconds }: PageStatus): Card {
  const rows: Row[] = [
    { name: 'Name', words: [hostname] },
    ...(mdns === null ? [] : [{ name: 'Announced', words: [announced(mdns)] }]),
    ...(model === null ? [] : [{ name: 'Model', words: [model] }]),
    { name: 'Version', words: [version] },
    { name: 'Running for', words: [up(uptimeSeconds)] },
    ...(deviceKey === null ? [] : [{ name: 'Device key', words: [shortened(deviceKey)], exact: true }]),
  ];
  return { title: 'Device', tone: 'plain', state: null, rows, trouble: null };
}

function announced({ name, interfaces }: NonNullable<PageStatus['mdns']>): string {
  if (interfaces.some(({ state }) => state === 'announced')) return `as ${name}.local`;
  return interfaces.some(({ state }) => state === 'claiming') ? 'not yet' : 'no';
}

/** Enough to tell devices apart; not the whole, which is half of what the proxy asks for. */
function shortened(deviceKey: string): string {
  return deviceKey.length <= 8 ? deviceKey : `${deviceKey.slice(0, 8)}…`;
}
