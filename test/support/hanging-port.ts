import { spawn } from 'node:child_process';
import { connect, type Socket } from 'node:net';

/**
 * A listening port that answers no further connection, as behind a firewall that drops: its process does not accept,
 * and its queue is full.
 */
export async function startHangingPort(): Promise<{ port: number; close(): Promise<void> }> {
  const program = `
    const server = require('node:net').createServer();
    server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
      require('node:fs').writeSync(1, String(server.address().port));
      require('node:fs').readSync(0, Buffer.alloc(1)); // until our end, however it comes
      process.exit();
    });`;
  const child = spawn(process.execPath, ['-e', program], { stdio: ['pipe', 'pipe', 'inherit'] });
  const port = Number(await new Promise<Buffer>((resolve) => child.stdout.once('data', resolve)));
  const fillers: Socket[] = [];
  // Linux queues one more than the backlog; connecting one after the other shows when it is full.
  while (await connects(port, fillers));
  return {
    port,
    close() {
      for (const filler of fillers) filler.destroy();
      child.kill('SIGKILL');
      return new Promise((resolve) => child.once('close', () => resolve()));
    },
  };
}

function connects(port: number, fillers: Socket[]): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    fillers.push(socket);
    socket.on('error', () => {});
    socket.once('connect', () => resolve(true));
    setTimeout(() => resolve(false), 300);
  });
}
