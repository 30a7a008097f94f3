import { randomBytes } from 'node:crypto';
import { AUDIENCE } from '../../src/access/scope.ts';

const base64 = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** A token of nobody. `isLikeOurs`: one for our audience that has not ended, so that only the API server can tell; else one for another audience. */
export function junkToken(isLikeOurs: boolean): string {
  const name = randomBytes(8).toString('hex');
  const claims = {
    iss: 'https://kubernetes.default.svc',
    sub: `system:serviceaccount:default:${name}`,
    aud: [isLikeOurs ? AUDIENCE : 'https://kubernetes.default.svc'],
    exp: Math.floor(Date.now() / 1000) + 3600,
  };
  return [base64({ alg: 'RS256', kid: name }), base64(claims), randomBytes(256).toString('base64url')].join('.');
}
