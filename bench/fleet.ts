/**
 * Many devices in one process, for the benchmark of the gateway: `node fleet.js ssh|agent PORT FILE`, FILE having a line
 * `key token` for each. Every device comes from a loopback address of its own, keeps its session like ours do (a first
 * retry within half a second, then within five), and echoes what comes through. On standard output: `{"up":n}`, whenever
 * that changed, and `{"ports":{…}}` when asked with a line on standard input.
 */
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import ssh2 from 'ssh2';
import { HEADER_BYTES, TYPE } from '../src/protocol/types.ts';

const [kind, port, file] = process.argv.slice(2);
const devices = readFileSync(file ?? '', 'utf8')
  .trim()
  .split('\n')
  .map((line, index) => {
    const [key = '', token = ''] = line.split(' ');
    return { key, token, source: sourceOf(index), attempts: 0 };
  });
type BenchDevice = (typeof devices)[number];

const HANDSHAKE_MS = 20_000;
const FIRST_RETRY_MS = 500;
const RETRY_MS = 5_000;
/** Dials under way: what one machine can do for thousands of devices that would each be a machine. */
const DIALS_MAX = 200;

let up = 0;
let told = -1;
let dialling = 0;
const waiting: BenchDevice[] = [];
const ports: Record<string, number[]> = {};

function sourceOf(index: number): string {
  return `127.${1 + Math.floor(index / 62_500)}.${Math.floor(index / 250) % 250}.${1 + (index % 250)}`;
}

function dial(device: BenchDevice): void {
  waiting.push(device);
  next();
}

function next(): void {
  while (dialling < DIALS_MAX) {
    const device = waiting.shift();
    if (device === undefined) return;
    dialling += 1;
    let stands = false;
    let over = false;
    const answered = () => {
      if (over || stands) return;
      stands = true;
      device.attempts = 0;
      dialling -= 1;
      up += 1;
      next();
    };
    const ended = () => {
      if (over) return;
      over = true;
      if (stands) up -= 1;
      else dialling -= 1;
      next();
      const most = device.attempts === 0 && stands ? FIRST_RETRY_MS : RETRY_MS;
      device.attempts += 1;
      setTimeout(() => dial(device), Math.random() * most);
    };
    if (kind === 'ssh') sshSession(device, answered, ended);
    else agentSession(device, answered, ended);
  }
}

function sshSession({ key, token, source }: BenchDevice, up: () => void, ended: () => void): void {
  const client = new ssh2.Client();
  client.on('ready', () => {
    client.forwardIn('localhost', 0, (error, first) => {
      if (error) {
        client.destroy();
        return;
      }
      client.forwardIn('localhost', 0, (error, second) => {
        if (error) {
          client.destroy();
          return;
        }
        ports[key] = [first, second];
        up();
      });
    });
  });
  client.on('tcp connection', (_details, accept) => {
    const channel = accept();
    channel.pipe(channel);
    channel.on('error', () => undefined);
  });
  client.on('error', () => undefined); // told by close
  client.on('close', ended);
  client.connect({
    host: '127.0.0.1',
    port: Number(port),
    username: token,
    localAddress: source,
    authHandler: ['none'],
    readyTimeout: HANDSHAKE_MS,
  });
}

function agentSession({ key, token, source }: BenchDevice, up: () => void, ended: () => void): void {
  const socket = connect({ host: '127.0.0.1', port: Number(port), localAddress: source, noDelay: true });
  const deadline = setTimeout(() => socket.destroy(), HANDSHAKE_MS);
  let bytes = Buffer.alloc(0);
  let stands = false;
  socket.on('connect', () => socket.write(`${JSON.stringify({ token, name: key })}\n`));
  socket.on('data', (chunk) => {
    bytes = Buffer.concat([bytes, chunk]);
    if (!stands) {
      const end = bytes.indexOf(0x0a);
      if (end === -1) return;
      if (!bytes.toString('utf8', 0, end).includes('"authenticated"')) {
        socket.destroy();
        return;
      }
      clearTimeout(deadline);
      bytes = bytes.subarray(end + 1);
      stands = true;
      frame(socket, TYPE.X, 0, Buffer.from('{"v":1,"maxStreams":64,"window":262144}'));
      up();
    }
    while (bytes.length >= HEADER_BYTES) {
      const length = bytes.readUInt32BE(5);
      if (bytes.length < HEADER_BYTES + length) return;
      answer(socket, bytes[0] ?? 0, bytes.readUInt32BE(1), bytes.subarray(HEADER_BYTES, HEADER_BYTES + length));
      bytes = bytes.subarray(HEADER_BYTES + length);
    }
  });
  socket.on('error', () => undefined);
  socket.on('close', () => {
    clearTimeout(deadline);
    ended();
  });
}

function answer(socket: Socket, type: number, id: number, payload: Buffer): void {
  if (type === TYPE.P) frame(socket, TYPE.p, 0, payload);
  if (type === TYPE.N) frame(socket, TYPE.A, id, Buffer.from([0, 0]));
  if (type === TYPE.D) frame(socket, TYPE.D, id, payload);
  if (type === TYPE.F) frame(socket, TYPE.C, id, Buffer.alloc(0));
}

function frame(socket: Socket, type: number, id: number, payload: Buffer): void {
  const header = Buffer.alloc(HEADER_BYTES);
  header[0] = type;
  header.writeUInt32BE(id, 1);
  header.writeUInt32BE(payload.length, 5);
  socket.write(Buffer.concat([header, payload]));
}

setInterval(() => {
  if (up === told) return;
  told = up;
  process.stdout.write(`${JSON.stringify({ up })}\n`);
}, 50);
process.stdin.on('data', () => process.stdout.write(`${JSON.stringify({ ports })}\n`));
process.stdin.on('end', () => process.exit());
for (const device of devices) dial(device);
