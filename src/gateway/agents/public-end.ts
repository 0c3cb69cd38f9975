import type { Socket } from 'node:net';
import { adopt } from '../../link/adopt.ts';
import type { BufferPool } from '../../link/buffer-pool.ts';
import { SocketEnd } from '../../link/socket-end.ts';
import type { FindLine } from '../../link/tcp-table.ts';
import type { LocalEnd, LocalEvents } from '../../protocol/endpoints.ts';

/** A client at a public port, accepted with half-open connections allowed, as the local end of a stream. */
export function publicEnd(client: Socket, events: LocalEvents, pool: BufferPool, findLine: FindLine): LocalEnd {
  return new SocketEnd(adopt(client, pool), events, findLine);
}
