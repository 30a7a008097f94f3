import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeAtomically } from './state.ts';

/**
 * Bearer tokens of the lab's users: `admin` may do everything, `agent` is the agents' service account, `viewer` reads and
 * may see the namespace `default`, `nobody` is known and may do nothing.
 */
export type UserTokens = Record<'admin' | 'agent' | 'viewer' | 'nobody', string>;

/** What proves to the lab's API server who asks. */
export interface Tokens extends UserTokens {
  /** Signs the tokens of service accounts: a private RSA key, PEM. */
  signingKey: string;
}

/** Makes new tokens and writes them to `tokens.json`. */
export function createTokens(directory: string): void {
  const token = () => randomBytes(24).toString('base64url');
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const signingKey = String(privateKey.export({ type: 'pkcs8', format: 'pem' }));
  const tokens: Tokens = { admin: token(), agent: token(), viewer: token(), nobody: token(), signingKey };
  writeAtomically(join(directory, 'tokens.json'), JSON.stringify(tokens));
}

export function readTokens(directory: string): Tokens {
  return JSON.parse(readFileSync(join(directory, 'tokens.json'), 'utf8')) as Tokens;
}
