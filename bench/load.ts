/** The load on a public port and what is measured of it. Every measure ends by itself. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

const CHUNK = Buffer.alloc(256 * 1024, 0x5a);
const MESSAGE = Buffer.alloc(64, 0x61);
const MIB = 1024 * 1024;

/** Connects and says with the first byte what the backend shall do; reads into one buffer. */
async function open(port: number, mode: 'e' | 'd' | 'u', onBytes: (count: number) => void): Promise<Socket> {
  const socket = connect({
    port,
    host: '127.0.0.1',
    noDelay: true,
    onread: {
      buffer: Buffer.alloc(256 * 1024),
      callback: (count) => {
        onBytes(count);
        return true;
      },
    },
  });
  socket.on('error', () => undefined); // seen as missing bytes by whoever measures
  await once(socket, 'connect');
  socket.write(mode);
  return socket;
}

const wait = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** MiB/s from the device to the public side over one connection. */
export async function bulkDown(port: number, durationMs: number): Promise<number> {
  let bytes = 0;
  const socket = await open(port, 'd', (count) => {
    bytes += count;
  });
  await wait(300); // the first windows
  const [startBytes, startMs] = [bytes, performance.now()];
  await wait(durationMs);
  const rate = (bytes - startBytes) / MIB / ((performance.now() - startMs) / 1000);
  socket.destroy();
  return rate;
}

/** MiB/s from the public side to the device over one connection. */
export async function bulkUp(port: number, durationMs: number): Promise<number> {
  const socket = await open(port, 'u', () => undefined);
  pour(socket);
  await wait(300);
  const [startBytes, startMs] = [taken(socket), performance.now()];
  await wait(durationMs);
  const rate = (taken(socket) - startBytes) / MIB / ((performance.now() - startMs) / 1000);
  socket.destroy();
  return rate;
}

/** Writes as much as the connection takes, until its end. */
function pour(socket: Socket): void {
  const more = () => {
    while (!socket.destroyed && socket.write(CHUNK));
  };
  socket.on('drain', more);
  more();
}

const taken = (socket: Socket) => socket.bytesWritten - socket.writableLength;

/** Sorted round trip times in µs of `count` messages of 64 bytes, one after the other, over one connection. */
export async function roundTrips(port: number, count: number): Promise<number[]> {
  let answered: () => void = () => undefined;
  let received = 0;
  const socket = await open(port, 'e', (bytes) => {
    received += bytes;
    if (received >= MESSAGE.length) answered();
  });
  const closed = once(socket, 'close').then(() => {
    throw new Error('the connection was closed during the round trips');
  });
  closed.catch(() => undefined); // of interest while an answer is awaited only
  const times: number[] = [];
  while (times.length < count) {
    received = 0;
    const startMs = performance.now();
    const answer = new Promise<void>((resolve) => {
      answered = resolve;
    });
    socket.write(MESSAGE);
    await Promise.race([answer, closed]);
    times.push((performance.now() - startMs) * 1000);
  }
  socket.destroy();
  return times.sort((a, b) => a - b);
}

/** The round trips while another connection of the same tunnel moves bulk in both directions. */
export async function roundTripsUnderBulk(port: number, count: number): Promise<number[]> {
  const down = await open(port, 'd', () => undefined);
  const up = await open(port, 'u', () => undefined);
  pour(up);
  await wait(300);
  const times = await roundTrips(port, count);
  down.destroy();
  up.destroy();
  return times;
}

/** New connections a second, each from its opening over one echoed byte to its orderly end, `atOnce` at a time. */
export async function newConnections(port: number, count: number, atOnce: number): Promise<number> {
  let left = count;
  const startMs = performance.now();
  const worker = async () => {
    while (left > 0) {
      left -= 1;
      let echoed = false;
      const socket = await open(port, 'e', () => {
        echoed = true;
        socket.end();
      });
      const closed = once(socket, 'close');
      socket.write('x');
      await closed;
      if (!echoed) throw new Error('a connection was closed before its first byte came back');
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return count / ((performance.now() - startMs) / 1000);
}

export const percentile = (sorted: number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
