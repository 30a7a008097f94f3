import { execFileSync } from 'node:child_process';
import { createPrivateKey, type KeyObject, sign } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { until } from '../../support/until.ts';
import { apply, beside, getJson, kubectl } from './cluster.ts';

const TOOL = process.env['KTRACE_CLUSTER'] || undefined;

/** A token of a service account, minted by the API server; `more` is what `kubectl create token` takes. */
export async function mint(namespace: string, account: string, ...more: string[]): Promise<string> {
  return (await kubectl('-n', namespace, 'create', 'token', account, '--duration=10m', ...more)).trim();
}

/** What the cluster signs tokens with, where the tool that brought it keeps that beside its kubeconfig. */
export async function signingKey(): Promise<KeyObject | undefined> {
  if (TOOL === undefined) return undefined;
  const kubeconfig = execFileSync(TOOL, ['kubeconfig'], { encoding: 'utf8' }).trim();
  const file = join(dirname(kubeconfig), 'sa.key');
  return existsSync(file) ? createPrivateKey(readFileSync(file)) : undefined;
}

/** The same token with other times, signed as the cluster signs: begun and ended so many seconds from now. */
export function timeShifted(token: string, key: KeyObject, fromS: number, toS: number): string {
  const [head = '', body = ''] = token.split('.');
  const nowS = Math.floor(Date.now() / 1000);
  const claims = JSON.parse(Buffer.from(body, 'base64url').toString('utf8')) as object;
  const shifted = { ...claims, iat: nowS + fromS, nbf: nowS + fromS, exp: nowS + toS };
  const text = `${head}.${Buffer.from(JSON.stringify(shifted)).toString('base64url')}`;
  return `${text}.${sign('sha256', Buffer.from(text), key).toString('base64url')}`;
}

/** Somebody with a kubeconfig and no right of their own. */
export interface Visitor {
  /** As the API server knows them. */
  user: string;
  kubeconfig: string;
  close(): Promise<void>;
}

/** One who logs in by a client certificate, signed by the cluster on request. */
export async function certificateVisitor(user: string): Promise<Visitor> {
  const folder = mkdtempSync(join(tmpdir(), 'ktrace-visitor-'));
  const key = join(folder, 'key');
  const args = ['req', '-new', '-newkey', 'rsa:2048', '-nodes', '-subj', `/CN=${user}`, '-keyout', key];
  const csr = execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'ignore'] });
  await apply([
    {
      apiVersion: 'certificates.k8s.io/v1',
      kind: 'CertificateSigningRequest',
      metadata: { name: user },
      spec: {
        request: csr.toString('base64'),
        signerName: 'kubernetes.io/kube-apiserver-client',
        expirationSeconds: 3600,
        usages: ['client auth'],
      },
    },
  ]);
  await kubectl('certificate', 'approve', user);
  const certificate = await until('the certificate', async () => {
    const { status } = await getJson<{ status: { certificate?: string } }>('certificatesigningrequest', user);
    return status.certificate;
  });
  await kubectl('delete', 'certificatesigningrequest', user);
  const login = { 'client-certificate-data': certificate, 'client-key-data': readFileSync(key).toString('base64') };
  return visitor(user, folder, login);
}

/** One who logs in by a token: a service account of this namespace, made for it. */
export async function tokenVisitor(namespace: string): Promise<Visitor> {
  await kubectl('-n', namespace, 'create', 'serviceaccount', 'visitor');
  const folder = mkdtempSync(join(tmpdir(), 'ktrace-visitor-'));
  return visitor(`system:serviceaccount:${namespace}:visitor`, folder, { token: await mint(namespace, 'visitor') });
}

async function visitor(user: string, folder: string, login: object): Promise<Visitor> {
  const { stdout } = await beside(['kubectl', 'config', 'view', '--raw', '--minify', '--flatten', '-o', 'json']);
  const config = JSON.parse(stdout) as { contexts: { context: { user: string } }[]; users: object[] };
  for (const { context } of config.contexts) context.user = 'visitor';
  config.users = [{ name: 'visitor', user: login }];
  const kubeconfig = join(folder, 'kubeconfig');
  writeFileSync(kubeconfig, JSON.stringify(config), { mode: 0o600 });
  return { user, kubeconfig, close: async () => rmSync(folder, { recursive: true }) };
}
