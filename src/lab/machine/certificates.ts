import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { API_ADDRESS } from '../plan/plan.ts';
import { run } from './run.ts';
import { allDone } from './wait.ts';

const NAMES = [
  'DNS:kubernetes',
  'DNS:kubernetes.default',
  'DNS:kubernetes.default.svc',
  'DNS:kubernetes.default.svc.cluster.local',
  'DNS:localhost',
  'IP:127.0.0.1',
  'IP:10.96.0.1',
  `IP:${API_ADDRESS}`,
];

/** Makes a CA of the lab's own (`ca.crt`) and the API server's certificate (`server.crt`, `server.key`) in `directory`. */
export async function createCertificates(directory: string): Promise<void> {
  const file = (name: string) => join(directory, name);
  const newKey = (name: string) => ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', file(name)];
  writeFileSync(
    file('server.ext'),
    `subjectAltName=${NAMES.join(',')}\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n`,
  );
  await allDone([
    run(['openssl', 'req', '-x509', ...newKey('ca.key'), '-subj', '/CN=ktrace-lab-ca', '-days', '30', '-out', file('ca.crt')]),
    run(['openssl', 'req', ...newKey('server.key'), '-subj', '/CN=kube-apiserver', '-out', file('server.csr')]),
  ]);
  const signer = ['-CA', file('ca.crt'), '-CAkey', file('ca.key'), '-CAcreateserial'];
  await run([
    ...['openssl', 'x509', '-req', '-in', file('server.csr'), ...signer, '-days', '30'],
    ...['-extfile', file('server.ext'), '-out', file('server.crt')],
  ]);
}
