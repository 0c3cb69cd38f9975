import { isIP } from 'node:net';
import { Failure } from '../support/failures.ts';
import type { LocalForward } from './pair.ts';
import { isHostName } from './target.ts';

/** The device's USB/IP daemon, as the deployed add-on has it. */
export const DEFAULT_FORWARD = '13240:localhost:3240';

const FORWARD = /^(?:(\[[^\]]+\]|[^:[\]]+):)?(\d{1,5}):(\[[^\]]+\]|[^:[\]]+):(\d{1,5})$/;

/**
 * `[ADDRESS:]PORT:HOST:HOSTPORT` as `ssh -L` takes it. Without an address only this machine can use it. The target
 * stays as it is written: the device compares it as text, so `localhost` and `127.0.0.1` are two things to it.
 * @throws Failure `pair.forward`
 */
export function parseForward(text: string): LocalForward {
  const bad = (why: string) => new Failure('pair.forward', `the forward ${JSON.stringify(text.slice(0, 80))} ${why}`);
  const [, address = '127.0.0.1', port = '', host = '', hostPort = ''] = FORWARD.exec(text) ?? [];
  if (host === '') throw bad('is not PORT:HOST:HOSTPORT');
  const endpoint = (name: string, number: string) => {
    const bare = name.replace(/^\[(.*)\]$/, '$1');
    if (name !== bare ? isIP(bare) !== 6 : !isHostName(bare)) throw bad(`has no host name or address in ${name}`);
    if (Number(number) < 1 || Number(number) > 65_535) throw bad('has a port that is not between 1 and 65535');
    return { host: bare, port: Number(number) };
  };
  return {
    kind: 'local',
    listen: endpoint(address === '*' ? '0.0.0.0' : address, port),
    target: endpoint(host, hostPort),
  };
}
