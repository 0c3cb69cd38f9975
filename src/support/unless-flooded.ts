import type { RequestListener } from 'node:http';
import type { Socket } from 'node:net';

/**
 * Requests of one connection that wait for their answers. Browsers and agents send the next one after the answer; Node
 * would take in as many as are sent, each with some KiB until its answer, which a wrong token has to wait for.
 */
const MAX_PIPELINED = 16;

/** Cuts off a connection that sends requests far faster than it is answered. */
export function unlessFlooded(handler: RequestListener): RequestListener {
  const waiting = new WeakMap<Socket, number>();
  return (request, response) => {
    const { socket } = request;
    const count = (waiting.get(socket) ?? 0) + 1;
    if (count > MAX_PIPELINED) return void socket.destroy(); // those behind it come here, too
    waiting.set(socket, count);
    response.once('finish', () => waiting.set(socket, (waiting.get(socket) ?? 1) - 1));
    handler(request, response);
  };
}
