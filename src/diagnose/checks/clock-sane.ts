import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { lastGoodPath } from '../../config/load.ts';
import type { Config } from '../../config/types.ts';
import { defineCheck } from '../check.ts';
import { judgeClock, WRITTEN_MS } from '../device/clock-sanity.ts';
import type { Facts } from '../facts.ts';
import { programs } from '../probes/sockets.ts';

export const clockSane = defineCheck({
  id: 'clock.sane',
  title: 'the clock of the device is right',
  findings: {
    past: {
      status: 'fail',
      symptom: 'Every certificate is refused ("not yet valid"), and the times in the log are those of another year.',
      meaning: 'The clock says {now}, which is long ago: no certificate is valid then',
      remedy: 'Set it, and let the network keep it: date -s "YYYY-MM-DD hh:mm"; {ntp}',
    },
    future: {
      status: 'fail',
      symptom: 'Every certificate is refused ("has expired").',
      meaning: 'The clock says {now}, which is far in the future: no certificate is valid any more',
      remedy: 'Set it, and let the network keep it: date -s "YYYY-MM-DD hh:mm"; {ntp}',
    },
    unused: {
      status: 'warn',
      symptom: 'The times in the log are those of another year.',
      meaning: 'The clock says {now}, which cannot be; this device only pairs, and nobody is kept out',
      remedy: 'Set it, and let the network keep it: date -s "YYYY-MM-DD hh:mm"; {ntp}',
    },
    behind: {
      status: 'warn',
      symptom: 'A new certificate may be refused ("not yet valid").',
      meaning: 'The clock says {now}, and a file of this device was changed later, at {later}',
      remedy: 'Compare it with a watch, and let the network keep it: date -u; {ntp}',
    },
  },
  async run(facts, say) {
    const nowMs = Date.now();
    const files = await changesOf(facts);
    const evidence = [`date: ${iso(nowMs)}`, ...(await hints(facts, files))].join('\n');
    const words = { now: iso(nowMs), ntp: await ntpRemedy(facts) };
    const state = judgeClock(
      nowMs,
      files.map(({ ms }) => ms),
    );
    if (state === 'sane') return say.ok(iso(nowMs), evidence);
    if (state === 'behind') {
      return say.found('behind', { ...words, later: iso(Math.max(...files.map(({ ms }) => ms))) }, evidence);
    }
    return say.found(speaksWithOthers(facts.config) ? state : 'unused', words, evidence);
  },
});

/**
 * Without TLS today it may get it tomorrow, and a log of another year helps nobody to find a fault: a device that has a
 * tunnel needs a clock. Where something else fails that no certificate explains, that stands first.
 */
function speaksWithOthers({ meeting, meetingApi, ssh }: Config): boolean {
  return meeting !== null || meetingApi !== null || ssh !== null;
}

const iso = (ms: number) => new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');

/** Files that are written now and then in the life of a device. The folders do not count: disk.writable tries them. */
async function changesOf({ settings, config }: Facts): Promise<{ path: string; ms: number }[]> {
  const paths = [
    settings.file,
    lastGoodPath(config.stateDir),
    join(config.stateDir, 'ever-paired'),
    config.pairing.authorizedKeysFile,
  ];
  const found = await Promise.all(
    paths.map((path) =>
      stat(path).then(
        ({ mtimeMs }) => [{ path, ms: mtimeMs }],
        () => [],
      ),
    ),
  );
  return found.flat();
}

async function hints(facts: Facts, files: readonly { path: string; ms: number }[]): Promise<string[]> {
  const newest = files.filter(({ ms }) => ms > WRITTEN_MS).toSorted((a, b) => b.ms - a.ms)[0];
  const rtc = Number(await readFile('/sys/class/rtc/rtc0/since_epoch', 'utf8').catch(() => ''));
  const clients = await timeClients(facts);
  return [
    ...(newest === undefined ? [] : [`${newest.path} was changed at ${iso(newest.ms)}`]),
    rtc > 0 ? `/sys/class/rtc/rtc0: ${iso(rtc * 1000)}` : 'no clock with a battery (/sys/class/rtc/rtc0)',
    clients.length === 0 ? 'no program keeps the time (NTP)' : `${clients.join(', ')} keeps the time`,
  ];
}

const TIME_CLIENTS = /^(?:ntpd|ntpsec|chronyd|systemd-timesyncd|systemd-timesyn|openntpd|sntp)$/;

async function timeClients(facts: Facts): Promise<string[]> {
  const names = (await facts.get(programs)).map(({ name }) => name);
  return [...new Set(names.filter((name) => TIME_CLIENTS.test(name)))];
}

async function ntpRemedy(facts: Facts): Promise<string> {
  const [client] = await timeClients(facts);
  return client === undefined
    ? 'start an NTP client, as ntpd or chronyd'
    : `restart ${client}, and see that it reaches its server`;
}
