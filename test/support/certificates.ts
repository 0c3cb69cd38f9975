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

/** Makes a self-signed certificate for a DNS name in `folder`. */
export function makeCertificate(folder: string, dnsName: string): TestCertificate {
  const path = join(folder, `${dnsName}.crt`);
  const keyPath = join(folder, `${dnsName}.key`);
  const subject = ['-subj', `/CN=${dnsName}`, '-addext', `subjectAltName=DNS:${dnsName}`];
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  execFileSync('openssl', ['req', '-x509', ...kind, '-keyout', keyPath, '-out', path, ...subject], { stdio: 'ignore' });
  const cert = readFileSync(path);
  const spki = new X509Certificate(cert).publicKey.export({ type: 'spki', format: 'der' });
  return { path, key: readFileSync(keyPath), cert, pin: createHash('sha256').update(spki).digest('hex') };
}
