/**
 * The far end of the tunnel for the benchmark, as a process of its own: `node gateway.js AGENT_PORT PUBLIC_PORT LOCAL_PORT`.
 * It accepts one agent and turns every connection to the public port into a stream to the agent's local port.
 */
import { createServer, type Socket } from 'node:net';
import type { Lease, Link, LocalEnd, LocalEvents } from '../src/protocol/endpoints.ts';
import { GATEWAY_LIMITS } from '../src/protocol/limits.ts';
import { Mux } from '../src/protocol/mux.ts';
import { systemClock } from '../src/support/clock.ts';

const [agentPort, publicPort, localPort] = process.argv.slice(2).map(Number);
let mux: Mux | null = null;

const owned = (bytes: Buffer): Lease => ({ bytes, retain() {}, release() {} });

createServer({ noDelay: true }, (socket) => {
  socket.once('data', (hello) => {
    const { name } = JSON.parse(hello.toString()) as { name: string };
    socket.write(`${JSON.stringify({ status: 'authenticated', device_key: name, ext: { v: 1 } })}\n`);
    const session = new Mux({
      role: 'gateway',
      v1: true,
      link: linkOf(socket, () => session.drained()),
      clock: systemClock,
      limits: GATEWAY_LIMITS,
      events: { ended: () => socket.destroy(), goingAway: () => undefined, note: () => undefined },
    });
    mux = session;
    socket.on('data', (bytes) => session.receive(owned(bytes)));
    socket.on('error', () => undefined);
    socket.on('close', () => session.linkEnded(null));
    process.stdout.write('agent\n');
  });
}).listen(agentPort, '127.0.0.1', () => process.stdout.write('ready\n'));

createServer({ noDelay: true, allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
  if (mux === null) socket.destroy();
  else mux.openStream(localPort ?? 0, (events) => localEnd(socket, events));
}).listen({ port: publicPort, host: '127.0.0.1', backlog: 1024 });

function linkOf(socket: Socket, drained: () => void): Link {
  return {
    write(chunks, done) {
      socket.cork();
      const last = chunks.length - 1;
      for (const [index, chunk] of chunks.entries()) {
        socket.write(
          chunk,
          index < last
            ? undefined
            : () => {
                done?.();
                if (socket.writableLength === 0 && !socket.destroyed) drained();
              },
        );
      }
      socket.uncork();
    },
    get queuedBytes() {
      return socket.writableLength;
    },
    pause: () => void socket.pause(),
    resume: () => void socket.resume(),
    end: () => void socket.end(),
    destroy: () => void socket.destroy(),
  };
}

function localEnd(socket: Socket, events: LocalEvents): LocalEnd {
  let error: Error | null = null;
  let destroyed = false;
  let corked = false;
  const uncork = () => {
    corked = false;
    socket.uncork();
  };
  socket.on('data', (bytes) => events.data(owned(bytes)));
  socket.on('end', () => events.ended());
  socket.on('error', (cause) => {
    error = cause;
  });
  socket.on('close', () => {
    if (!destroyed) events.closed(error);
  });
  setImmediate(() => events.opened());
  socket.resume();
  return {
    write: (bytes, done) => {
      if (!corked) {
        corked = true; // the frames of one read leave in one system call
        socket.cork();
        process.nextTick(uncork);
      }
      socket.write(bytes, () => done());
    },
    end: () => void socket.end(),
    pause: () => void socket.pause(),
    resume: () => void socket.resume(),
    destroy: () => {
      destroyed = true;
      socket.destroy();
    },
  };
}
