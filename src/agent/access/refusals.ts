import { ACCESS_GROUP, type FLOWS, grantLine, PAYLOADS, type Scope } from '../../access/scope.ts';
import { KtraceError, messageOf } from '../../util/errors.ts';
import type { Logger } from '../../util/log.ts';
import type { Standing } from './standing.ts';

const TOO_OFTEN = 'KTRACE_E_ASKED_TOO_OFTEN';

/** What exists only to be authorized, and what is done to it. */
export interface Right {
  verb: 'watch' | 'get';
  resource: typeof FLOWS | typeof PAYLOADS;
}

/** What was found out of a right. */
export interface Finding {
  right: Right;
  allowed: Scope;
  /** The accounts that it is allowed to. */
  by: string[];
  /** What is known of each namespace, or of all of them, that is needed and not allowed. */
  missing: Standing[];
}

/** Somebody may not, for this reason, see what is missing. */
export function denied(why: string, missing: Scope, payloads: boolean): KtraceError {
  return new KtraceError('KTRACE_E_NOT_AUTHORIZED', `Not authorized: ${why}`, {
    hint: `An administrator can grant it: ${grantLine(missing, 'NAME', payloads)}`,
  });
}

function missingOf(allowed: Scope, needed: Scope): Scope {
  return needed === 'all' || allowed === 'all' ? needed : new Set([...needed].filter((namespace) => !allowed.has(namespace)));
}

/** The API server says that they may not. */
export function refusal({ right: { verb, resource }, allowed }: Finding, who: readonly string[], needed: Scope): KtraceError {
  const missing = missingOf(allowed, needed);
  const where = missing === 'all' ? 'in all namespaces' : `in namespace ${[...missing].join(', ')}`;
  return denied(`${who.join(', ')} may not ${verb} ${resource}.${ACCESS_GROUP} ${where}`, missing, resource === PAYLOADS);
}

/** Who had all of it when the API server could say may go on for a while; that somebody asks too much is no reason to. */
export function undecided(missing: readonly Standing[], failures: readonly unknown[], log: Logger): KtraceError {
  const hadAll = missing.every((one) => one === 'before');
  return unavailable(failures.find((error) => isTooOften(error) !== hadAll) ?? failures[0], log);
}

function isTooOften(error: unknown): boolean {
  return error instanceof KtraceError && error.code === TOO_OFTEN;
}

/** The API server says nothing, for this reason; an error of ours is given back as it is. */
export function unavailable(error: unknown, log: Logger): KtraceError {
  if (error instanceof KtraceError) return error;
  log.warn({ err: messageOf(error) }, 'the API server does not say who may see what');
  return new KtraceError(
    'KTRACE_E_AUTHORIZATION_UNAVAILABLE',
    `The API server does not say who may see what: ${messageOf(error)}`,
    {
      cause: error,
      hint: 'The agents need to reach the API server and to create tokenreviews and subjectaccessreviews.',
    },
  );
}

/** The API server is not asked: it was too often. */
export function askedTooOften(): KtraceError {
  return new KtraceError(TOO_OFTEN, 'This agent was asked too often who may see what: try again', {
    hint: 'Somebody sends it tokens that are nobody’s, or asks for more and more namespaces: see ktrace_authorization_reviews_total.',
  });
}
