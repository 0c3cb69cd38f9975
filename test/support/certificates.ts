import { execFileSync } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface TestCertificate {
  /** Path of the certificate, which is its own authority. */
  path: string;
  key: Buffer;
  cert: Buffer;
  /** SHA-256 of the SubjectPublicKeyInfo, in hex. */
  pin: string;
}

/** Makes a self-signed certificate for a DNS name in `folder`; `days` below 0 make one that has expired. */
export function makeCertificate(folder: string, dnsName: string, days = 2): TestCertificate {
  const path = join(folder, `${dnsName}.crt`);
  const keyPath = join(folder, `${dnsName}.key`);
  const subject = ['-subj', `/CN=${dnsName}`, '-addext', `subjectAltName=DNS:${dnsName}`];
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', keyPath];
  if (days > 0) {
    openssl(['req', '-x509', ...kind, '-days', String(days), '-out', path, ...subject]);
  } else {
    openssl(['req', '-new', ...kind, '-out', `${path}.csr`, ...subject]);
    const sign = ['-signkey', keyPath, '-days', String(days), '-copy_extensions', 'copy'];
    openssl(['x509', '-req', '-in', `${path}.csr`, ...sign, '-out', path]);
  }
  const cert = readFileSync(path);
  const spki = new X509Certificate(cert).publicKey.export({ type: 'spki', format: 'der' });
  return { path, key: readFileSync(keyPath), cert, pin: createHash('sha256').update(spki).digest('hex') };
}

/** The same, signed by another one. */
export function makeSignedCertificate(folder: string, dnsName: string, authority: TestCertificate): TestCertificate {
  const own = makeCertificate(folder, dnsName);
  const path = join(folder, `${dnsName}.signed.crt`);
  const key = join(folder, `${dnsName}.key`);
  openssl([
    'req',
    '-new',
    '-key',
    key,
    '-out',
    `${path}.csr`,
    '-subj',
    `/CN=${dnsName}`,
    '-addext',
    `subjectAltName=DNS:${dnsName}`,
  ]);
  const by = ['-CA', authority.path, '-CAkey', authority.path.replace(/crt$/, 'key'), '-CAcreateserial'];
  openssl(['x509', '-req', '-in', `${path}.csr`, ...by, '-days', '2', '-copy_extensions', 'copy', '-out', path]);
  return { ...own, path, cert: readFileSync(path) };
}

function openssl(args: string[]): void {
  execFileSync('openssl', args, { stdio: 'ignore' });
}
