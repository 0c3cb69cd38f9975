/**
 * The far end of the tunnel for the benchmark, as a process of its own: `node gateway.js AGENT_PORT PUBLIC_PORT LOCAL_PORT`.
 * It accepts one agent and turns every connection to the public port into a stream to the agent's local port.
 */
import { createServer, Socket } from 'node:net';
import type { Link, LocalEnd, LocalEvents } from '../src/protocol/endpoints.ts';
import { GATEWAY_LIMITS } from '../src/protocol/limits.ts';
import { Mux } from '../src/protocol/mux.ts';
import { systemClock } from '../src/support/clock.ts';
import { BufferPool, PooledReader } from '../src/tunnel/buffer-pool.ts';

const [agentPort, publicPort, localPort] = process.argv.slice(2).map(Number);
let mux: Mux | null = null;

const pool = new BufferPool();

/** Reads an accepted socket into pooled buffers; Node offers that for dialled ones only, hence the private handle. */
function pooled(accepted: Socket, allowHalfOpen: boolean): { socket: Socket; reader: PooledReader } {
  const reader = new PooledReader(pool);
  const parts = accepted as unknown as { _handle: unknown };
  const options = { handle: parts._handle, allowHalfOpen, onread: reader.onread, readable: true, writable: true };
  parts._handle = null;
  const socket = new Socket(options as ConstructorParameters<typeof Socket>[0]);
  socket.setNoDelay(true);
  reader.attach(socket);
  return { socket, reader };
}

createServer({ pauseOnConnect: true }, (accepted) => {
  const { socket, reader } = pooled(accepted, false);
  socket.on('error', () => undefined);
  reader.deliverTo(({ bytes: hello }) => {
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
    socket.on('close', () => session.linkEnded(null));
    reader.deliverTo((lease) => session.receive(lease));
    process.stdout.write('agent\n');
  });
}).listen(agentPort, '127.0.0.1', () => process.stdout.write('ready\n'));

createServer({ pauseOnConnect: true }, (accepted) => {
  if (mux === null) accepted.destroy();
  else mux.openStream(localPort ?? 0, (events) => localEnd(accepted, events));
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

function localEnd(accepted: Socket, events: LocalEvents): LocalEnd {
  const { socket, reader } = pooled(accepted, true);
  let error: Error | null = null;
  let destroyed = false;
  let corked = false;
  const uncork = () => {
    corked = false;
    socket.uncork();
  };
  reader.deliverTo((lease) => events.data(lease));
  socket.on('end', () => events.ended());
  socket.on('error', (cause) => {
    error = cause;
  });
  socket.on('close', () => {
    if (!destroyed) events.closed(error);
  });
  setImmediate(() => events.opened());
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
