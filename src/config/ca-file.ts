import { X509Certificate } from 'node:crypto';
import { readBytes } from './files.ts';
import type { Layer } from './layers.ts';
import { type Notice, valuesOf } from './resolve.ts';

/** As much as the tunnel reads of it. */
const CA_LIMIT_BYTES = 1024 * 1024;

/**
 * A CA file that the tunnel will not be able to use. No fault: the tunnel reads the file at every attempt, so it may
 * come later, and pairing needs none.
 */
export async function caNotices(layer: Layer): Promise<Notice[]> {
  const { transport, 'meeting.proxy.tls': tls, 'meeting.proxy.ca': ca } = valuesOf(layer);
  if (transport !== 'meeting' || !tls || ca === null) return [];
  const file = await readBytes(ca, CA_LIMIT_BYTES);
  if (file.state === 'read' && holdsCertificate(file.bytes)) return [];
  const needed =
    file.state === 'unusable' ? file.expected : file.state === 'absent' ? 'a file that exists' : 'a certificate in PEM';
  const sentence = `The CA file of the proxy, ${ca}, cannot be used; needed: ${needed}`;
  return [{ code: 'config.ca-unreadable', sentence }];
}

function holdsCertificate(bytes: Buffer): boolean {
  try {
    new X509Certificate(bytes);
    return true;
  } catch {
    return false;
  }
}
