import type { IncomingMessage, ServerResponse } from 'node:http';
import { messageOf } from '../../util/errors.ts';
import type { Tokens } from '../machine/tokens.ts';
import { API_AUDIENCE, userOfToken } from './auth/access.ts';
import { publicKeys, requestToken } from './auth/account-tokens.ts';
import { ruling } from './auth/rbac.ts';
import { REVIEWS, review } from './auth/reviews.ts';
import { ANONYMOUS, type User } from './auth/user.ts';
import { discovery } from './objects/discovery.ts';
import type { Lister } from './objects/list.ts';
import { isKnownRoot, parsePath, type ResourcePath, readJson } from './objects/request.ts';
import { fieldSelector, labelSelector, type Match } from './objects/selectors.ts';
import {
  badRequest,
  forbidden,
  initialEventsNeedMatch,
  methodNotAllowed,
  noSuchPath,
  StatusError,
  statusObject,
  unauthorized,
} from './objects/status.ts';
import type { Store } from './objects/store.ts';
import { serveWatch } from './objects/watch.ts';
import { create, patch, remove, replace, type WriteRequest, type Written } from './objects/write.ts';

export interface ApiContext {
  store: Store;
  lister: Lister;
  tokens: Tokens;
  bookmarkEveryMs: number;
  /** Reviews that were asked for, by resource. */
  reviewCounts: Map<string, number>;
}

/** What the keys of tokens are sent as (RFC 7517). */
const JWK_SET = 'application/jwk-set+json';

/** Answers one request; every failure becomes a `Status` object. */
export async function handle(context: ApiContext, request: IncomingMessage, response: ServerResponse): Promise<void> {
  try {
    await route(context, request, response);
  } catch (error) {
    const failure =
      error instanceof StatusError
        ? error
        : new StatusError(500, 'InternalError', `Internal error occurred: ${messageOf(error)}`);
    sendError(response, failure);
  }
}

/** Who sent a request, by its bearer token; without one somebody who may next to nothing. @throws StatusError 401 for a token of nobody's */
export function authenticate({ tokens, store }: ApiContext, request: IncomingMessage): User {
  const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1];
  if (token === undefined) return ANONYMOUS;
  const user = userOfToken(tokens, store, token);
  if (user === undefined) throw unauthorized();
  return user;
}

/** @throws StatusError 403 when the user may not do this */
function authorize({ store }: ApiContext, user: User, verb: string, target: ResourcePath): void {
  const attempt = {
    user: user.username,
    verb,
    group: target.resource.group,
    resource: target.resource.plural,
    ...(target.namespace === undefined ? {} : { namespace: target.namespace }),
    ...(target.name === undefined ? {} : { name: target.name }),
    ...(target.subresource === undefined ? {} : { subresource: target.subresource }),
  };
  if (ruling(store, user, attempt) === undefined) throw forbidden(attempt);
}

/**
 * A websocket begins with a GET, which is authorized as `get` like any; since 1.35 the real server asks for `create`, too, and does not say
 * so when it refuses.
 * @throws StatusError 403
 */
export function authorizeForward(context: ApiContext, user: User, target: ResourcePath): void {
  authorize(context, user, 'get', target);
  try {
    authorize(context, user, 'create', target);
  } catch (error) {
    if (!(error instanceof StatusError)) throw error;
    const name = target.name ?? '';
    throw new StatusError(403, 'Forbidden', `pods ${JSON.stringify(name)} is forbidden: `, { name, kind: 'pods' });
  }
}

async function route(context: ApiContext, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '/', 'https://lab');
  const path = url.pathname.replace(/\/$/, '');
  if (['/healthz', '/livez', '/readyz'].includes(path)) {
    response.writeHead(200, { 'content-type': 'text/plain' }).end('ok');
    return;
  }
  // The real server tells its version to anonymous users too.
  if (path === '/version') return sendJson(response, 200, discovery(path));
  const user = authenticate(context, request);
  const known = request.method === 'GET' ? discovery(path) : undefined;
  if (known !== undefined) return sendJson(response, 200, known);
  if (path === '/metrics' && user.groups.includes('system:masters')) return sendMetrics(context, response);
  if (path === '/openid/v1/jwks' && request.method === 'GET') return sendKeys(context, user, request, response);
  if (path in REVIEWS && request.method === 'POST') return answerReview(context, path, user, request, response);
  const target = parsePath(path);
  if (target === undefined) {
    if (isKnownRoot(path)) throw noSuchPath();
    response.writeHead(404, { 'content-type': 'text/plain' }).end('404 page not found\n');
    return;
  }
  await serveResource(context, user, target, url.searchParams, request, response);
}

async function answerReview(context: ApiContext, path: string, user: User, request: IncomingMessage, response: ServerResponse) {
  const attempt = { user: user.username, verb: 'create', group: path.split('/')[2] ?? '', resource: path.split('/')[4] ?? '' };
  context.reviewCounts.set(attempt.resource, (context.reviewCounts.get(attempt.resource) ?? 0) + 1);
  if (ruling(context.store, user, attempt) === undefined) throw forbidden(attempt);
  sendJson(response, 201, review(path, await readJson(request), user, context.tokens, context.store));
}

/** Of what the real server's metrics have: how often reviews were asked for. */
function sendMetrics({ reviewCounts }: ApiContext, response: ServerResponse): void {
  const lines = [...reviewCounts].map(
    ([resource, count]) => `apiserver_request_total{verb="CREATE",resource="${resource}"} ${count}\n`,
  );
  response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' }).end(lines.join(''));
}

/** All service accounts may read them, by `system:service-account-issuer-discovery`, as no other type than their own. */
function sendKeys({ tokens }: ApiContext, { username, groups }: User, request: IncomingMessage, response: ServerResponse): void {
  if (!groups.includes('system:serviceaccounts') && !groups.includes('system:masters'))
    throw new StatusError(403, 'Forbidden', `forbidden: User "${username}" cannot get path "/openid/v1/jwks"`);
  const accepted = (request.headers.accept ?? '*/*').split(',').map((type) => type.split(';')[0]?.trim());
  if (!accepted.some((type) => type === JWK_SET || type === '*/*'))
    throw new StatusError(406, 'NotAcceptable', `406: Not Acceptable\n\nAvailable representations: ${JWK_SET}`, {});
  response.writeHead(200, { 'content-type': JWK_SET }).end(JSON.stringify(publicKeys(tokens.signingKey)));
}

async function serveResource(
  context: ApiContext,
  user: User,
  target: ResourcePath,
  query: URLSearchParams,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { resource, namespace, name, subresource } = target;
  const method = request.method ?? 'GET';
  if (method === 'GET' && name === undefined) return serveCollection(context, user, target, query, response);
  if (method === 'POST' && resource.plural === 'serviceaccounts' && subresource === 'token') {
    authorize(context, user, 'create', target);
    const account = context.store.get(resource, namespace, name ?? '');
    return sendJson(response, 201, requestToken(context.tokens.signingKey, account, await readJson(request), API_AUDIENCE));
  }
  if (method === 'GET' && resource.plural === 'pods' && subresource === 'portforward') {
    authorizeForward(context, user, target);
    throw badRequest('Upgrade request required');
  }
  if (subresource !== undefined && subresource !== 'status') throw noSuchPath();
  if (method === 'GET' && name !== undefined) {
    authorize(context, user, 'get', target);
    return sendJson(response, 200, context.store.get(resource, namespace, name));
  }
  const [verb, write] = WRITES[`${method} ${name === undefined ? 'all' : 'one'}`] ?? [];
  if (verb === undefined || write === undefined) throw methodNotAllowed();
  authorize(context, user, verb, target);
  const { status, body } = write(context.store, {
    target,
    body: method === 'DELETE' ? undefined : await readJson(request, resource.kind),
    contentType: request.headers['content-type'] ?? '',
    isDry: query.get('dryRun') === 'All',
    fieldManager: query.get('fieldManager') ?? '',
    isForced: query.get('force') === 'true',
  });
  sendJson(response, status, body);
}

const WRITES: Record<string, [verb: string, write: (store: Store, request: WriteRequest) => Written]> = {
  'POST all': ['create', create],
  'PUT one': ['update', replace],
  'PATCH one': ['patch', patch],
  'DELETE one': ['delete', remove],
};

function serveCollection(
  context: ApiContext,
  user: User,
  target: ResourcePath,
  query: URLSearchParams,
  response: ServerResponse,
): void {
  const isWatch = query.get('watch') === 'true' || query.get('watch') === '1';
  authorize(context, user, isWatch ? 'watch' : 'list', target);
  const isWhole = !query.get('labelSelector') && !query.get('fieldSelector');
  const match = both(
    labelSelector(query.get('labelSelector') ?? ''),
    fieldSelector(query.get('fieldSelector') ?? '', target.resource.plural),
  );
  if (!isWatch) {
    const list = context.lister.list(
      target.resource,
      target.namespace,
      match,
      numberOf(query, 'limit') ?? 0,
      query.get('continue') ?? '',
      isWhole,
    );
    sendJson(response, 200, list);
    return;
  }
  if (query.get('sendInitialEvents') === 'true' && query.get('resourceVersionMatch') !== 'NotOlderThan')
    throw initialEventsNeedMatch();
  serveWatch(context.store, response, {
    resource: target.resource,
    namespace: target.namespace,
    match,
    from: versionOf(query),
    bookmarks: query.get('allowWatchBookmarks') === 'true',
    initialEvents: query.get('sendInitialEvents') === 'true',
    // Without one the real server picks a time between 30 and 60 minutes.
    timeoutMs: (numberOf(query, 'timeoutSeconds') ?? 1800) * 1000,
    bookmarkEveryMs: context.bookmarkEveryMs,
  });
}

function both(a: Match, b: Match): Match {
  return (object) => a(object) && b(object);
}

/** What is no version is the server's own failure to the real one, and without a reason. */
function versionOf(query: URLSearchParams): number | undefined {
  const text = query.get('resourceVersion') ?? '';
  if (/^\d{0,15}$/.test(text)) return text === '' ? undefined : Number(text);
  const value = JSON.stringify(text);
  throw new StatusError(500, '', `resourceVersion: Invalid value: ${value}: parsing ${value}: invalid syntax`);
}

function numberOf(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name);
  if (text === null || text === '') return undefined;
  if (!/^\d{1,15}$/.test(text)) throw badRequest(`invalid ${name}: ${JSON.stringify(text)}`);
  return Number(text);
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

function sendError(response: ServerResponse, error: StatusError): void {
  if (response.headersSent) response.destroy();
  else sendJson(response, error.status, statusObject(error));
}
