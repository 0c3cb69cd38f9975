import { execFileSync } from 'node:child_process';
import type { Test } from 'tap';

const ip = (...args: string[]) => execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });

/** The addresses of the two ends. */
export const NEAR = '10.77.0.1';
export const FAR = '10.77.0.2';

export interface Network {
  /** Commands that run another one at this end. */
  inNear: string[];
  inFar: string[];
  /** Makes the far end deaf and mute, without a word. */
  cut(): void;
  mend(): void;
}

/** Two network namespaces with a cable between them, which go with the test. Needs root, ip and namespaces. */
export function network(t: Test): Network {
  const near = `zf-n-${process.pid}`;
  const far = `zf-f-${process.pid}`;
  t.teardown(() => {
    for (const name of [near, far]) ip('netns', 'del', name);
  });
  for (const name of [near, far]) {
    ip('netns', 'add', name);
    ip('-n', name, 'link', 'set', 'lo', 'up');
  }
  ip('-n', near, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', far);
  ip('-n', near, 'addr', 'add', `${NEAR}/24`, 'dev', 'eth0');
  ip('-n', far, 'addr', 'add', `${FAR}/24`, 'dev', 'eth0');
  for (const name of [near, far]) ip('-n', name, 'link', 'set', 'eth0', 'up');
  return {
    inNear: ['ip', 'netns', 'exec', near],
    inFar: ['ip', 'netns', 'exec', far],
    cut: () => ip('-n', far, 'route', 'add', 'blackhole', `${NEAR}/32`),
    mend: () => ip('-n', far, 'route', 'del', 'blackhole', `${NEAR}/32`),
  };
}
