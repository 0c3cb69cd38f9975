import type { Server } from 'node:net';
import { systemCode } from './failures.ts';

export interface ListenAddress {
  /** An address of this machine; `::` means all, and falls back to 0.0.0.0 where there is no IPv6. */
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
  /** Connections that the kernel keeps until they are accepted. */
  readonly backlog?: number;
}

/** Resolves when the server listens; rejects with the system's error. Later errors are for a listener of the caller. */
export async function listen(server: Server, address: ListenAddress): Promise<void> {
  try {
    await attempt(server, address);
  } catch (error) {
    const noIpv6 = address.host === '::' && ['EAFNOSUPPORT', 'EADDRNOTAVAIL'].includes(systemCode(error) ?? '');
    if (!noIpv6) throw error;
    await attempt(server, { ...address, host: '0.0.0.0' });
  }
}

function attempt(server: Server, address: ListenAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(address, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** Where it listens; null while it does not. */
export function listeningAt(server: Server | null): { host: string; port: number } | null {
  const bound = server?.address();
  return typeof bound === 'object' && bound !== null ? { host: bound.address, port: bound.port } : null;
}
