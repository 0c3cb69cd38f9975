import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Test } from 'tap';
import type { Output } from '../support/processes.ts';
import { makeBoard } from './board.ts';
import { type Behaviour, stubRelease } from './releases.ts';

export const INSTALLER = resolve(import.meta.dirname, '../../../scripts/install.sh');

/** For each of the stub releases: what it does. */
const RELEASES: Readonly<Record<string, Behaviour>> = {
  '1.0': 'good',
  '1.1': 'good',
  '1.2': 'dead',
  '1.3': 'untunnelled',
  '1.4': 'refused',
};

/**
 * Begins each script: a machine with BusyBox's shell and tools alone in front, whose rcS starts numbered scripts, and a
 * Node that has a version and nothing else. `installed` has version 1.0 running; `boot` is what rcS does after a power cut.
 */
const PREPARED = `
mkdir -p /bb && busybox --install -s /bb
export PATH="/bb:$PATH"
exec busybox ash -s <<'SCRIPT'
printf '#!/bin/sh\\necho v20.19.2\\n' >/usr/local/bin/node && chmod 755 /usr/local/bin/node
rm -rf /etc/init.d /etc/rc?.d && mkdir /etc/init.d
echo 'for each in /etc/init.d/S??*; do "$each" start; done' >/etc/init.d/rcS
Q='--steady 0 --within 1'
installer() { sh /opt/zeroforce/install.sh "$@"; }
installed() { sh /releases/zeroforce-agent-1.0/install.sh install $Q >/dev/null; }
upgrade() { version=$1; shift; installer upgrade "/releases/zeroforce-agent-$version.tar.gz" $Q "$@"; }
boot() { rm -f /run/stub-status /run/zeroforce*; for each in /etc/init.d/S??*; do "$each" start; done; }
# The version that answers, which has to be the one that current leads to.
running() { sed -n 's/^  "version": "\\(.*\\)",/\\1/p' /run/stub-status; }
current() { cat /opt/zeroforce/current/VERSION; }
# Everything that a script could have changed, as a list to compare.
everything() { find /etc /opt /usr/bin /usr/lib/zeroforce /usr/local /run -xdev 2>/dev/null | grep -v 'zeroforce-install' | sort; }
`;

/** Prints UNCHANGED where `everything` is as it was when it was written to /tmp/before. */
export const UNCHANGED = 'everything >/tmp/after; cmp /tmp/before /tmp/after && echo UNCHANGED';

/** The stub releases, in a folder of this machine. */
export async function stubReleases(t: Test): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'zeroforce-stubs-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  for (const [version, behaviour] of Object.entries(RELEASES)) {
    await stubRelease(folder, { version, behaviour, installer: INSTALLER });
  }
  return folder;
}

/** A machine without an init system that runs, on which each script starts from an empty disk. */
export async function stubBoard(t: Test): Promise<(script: string, timeoutMs?: number) => Promise<Output>> {
  const board = await makeBoard(t, 'bookworm');
  await board.put(await stubReleases(t), '/releases');
  return (script, timeoutMs = 120_000) => board.sh(`${EMPTY_DISK}${PREPARED}${script}\nSCRIPT`, { timeoutMs });
}

/** What the installer changes lies in memory, and is gone after the script. */
const EMPTY_DISK = `
for each in etc opt usr var; do
  mkdir -p "/dev/shm/$each" "/dev/shm/work-$each"
  mount -t overlay -o "lowerdir=/$each,upperdir=/dev/shm/$each,workdir=/dev/shm/work-$each" overlay "/$each"
done
`;
