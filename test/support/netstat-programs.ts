import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findProgram } from './requires.ts';

/** The path of a `netstat` that is BusyBox, as a link below `folder`: BusyBox looks at the name that it is called by. */
export function busyboxNetstat(folder: string): string {
  mkdirSync(join(folder, 'busybox'));
  const path = join(folder, 'busybox', 'netstat');
  symlinkSync(findProgram('busybox') ?? '/bin/busybox', path);
  return path;
}

/** The path of a shell script that stands in for netstat where a real one cannot be made to fail. */
export function fakeNetstat(folder: string, script: string): string {
  const path = join(folder, 'netstat');
  writeFileSync(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return path;
}
