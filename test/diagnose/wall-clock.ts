import { run } from '../support/processes.ts';

/** The environment of a program whose wall clock starts at a time; its monotonic clock stays as it is. Needs faketime. */
export async function wallClock(): Promise<(time: string) => Record<string, string>> {
  const { stdout } = await run('faketime', ['-f', '@2000-01-01 00:00:00', 'env']);
  const library = /^LD_PRELOAD=(.*)$/m.exec(stdout)?.[1] ?? '';
  if (library === '') throw new Error(`no library in ${stdout}`);
  return (time) => ({
    LD_PRELOAD: library,
    FAKETIME: `@${time}`,
    FAKETIME_DONT_FAKE_MONOTONIC: '1',
    TZ: 'UTC',
  });
}
