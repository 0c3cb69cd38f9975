import { Socket } from 'node:net';
import { type BufferPool, PooledReader } from './buffer-pool.ts';

/** A socket that is read into pooled buffers. */
export interface PooledSocket {
  readonly socket: Socket;
  readonly reader: PooledReader;
}

/**
 * Lets an accepted socket read into pooled buffers, as `net.connect` lets those that we dial. Node has no public way for
 * accepted ones, so the connection is moved into a second socket object by the one private field that this needs,
 * `_handle`; where that is missing, or means something else, the socket's own events are used and only speed is lost.
 *
 * The accepted socket is paused, and is not to be used any more but for its `close` and `destroy`, which still mean the
 * connection. What it has read already comes first.
 */
export function adopt(accepted: Socket, pool: BufferPool): PooledSocket {
  const reader = new PooledReader(pool);
  accepted.pause();
  for (let bytes = readOf(accepted); bytes !== null; bytes = readOf(accepted)) reader.begin(bytes);
  const moved = moveInto(accepted, reader);
  if (moved === null) {
    reader.attachEvents(accepted);
    return { socket: accepted, reader };
  }
  if (reader.inUse) reader.attach(moved);
  else reader.attachEvents(moved);
  moved.once('close', () => accepted.destroy());
  accepted.once('close', () => moved.destroy());
  accepted.on('error', () => {});
  return { socket: moved, reader };
}

const readOf = (socket: Socket) => socket.read() as Buffer | null;

/** The handle of a TCP connection, as far as this file looks at it. */
interface Handle {
  readStop(): unknown;
  useUserBuffer(buffer: Uint8Array): unknown;
}

interface Private {
  _handle?: Partial<Handle> | null;
}

function moveInto(accepted: Socket, reader: PooledReader): Socket | null {
  const from = accepted as unknown as Private;
  const handle = from._handle;
  if (typeof handle?.readStop !== 'function' || typeof handle.useUserBuffer !== 'function') return null;
  handle.readStop();
  const options = { handle, allowHalfOpen: accepted.allowHalfOpen, pauseOnCreate: true, onread: reader.onread };
  const moved = new Socket(options as ConstructorParameters<typeof Socket>[0]);
  if ((moved as unknown as Private)._handle !== handle) return null;
  from._handle = null;
  return moved;
}
