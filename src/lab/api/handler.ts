import type { IncomingMessage, ServerResponse } from 'node:http';
import { messageOf } from '../../util/errors.ts';
import type { Tokens } from '../tokens.ts';
import { API_AUDIENCE, type User, userOfToken } from './access.ts';
import { requestToken } from './account-tokens.ts';
import { discovery } from './discovery.ts';
import type { Lister } from './list.ts';
import { applyPatch } from './patch.ts';
import { isAllowed } from './rbac.ts';
import { parsePath, type ResourcePath, readJson } from './request.ts';
import { REVIEWS, review } from './reviews.ts';
import { fieldSelector, labelSelector, type Match } from './selectors.ts';
import { ApiError, badRequest, forbidden, noSuchPath, statusObject, unauthorized } from './status.ts';
import type { Store } from './store.ts';
import type { ApiObject } from './types.ts';
import { serveWatch } from './watch.ts';

export interface ApiContext {
  store: Store;
  lister: Lister;
  tokens: Tokens;
  bookmarkEveryMs: number;
}

/** Answers one request; every failure becomes a `Status` object. */
export async function handle(context: ApiContext, request: IncomingMessage, response: ServerResponse): Promise<void> {
  try {
    await route(context, request, response);
  } catch (error) {
    const failure =
      error instanceof ApiError ? error : new ApiError(500, 'InternalError', `Internal error occurred: ${messageOf(error)}`);
    sendError(response, failure);
  }
}

/** Who sent a request, by its bearer token. @throws ApiError 401 */
export function authenticate({ tokens, store }: ApiContext, request: IncomingMessage): User {
  const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1];
  const user = token === undefined ? undefined : userOfToken(tokens, store, token);
  if (user === undefined) throw unauthorized();
  return user;
}

/** @throws ApiError 403 when the user may not do this */
export function authorize({ store }: ApiContext, user: User, verb: string, target: ResourcePath): void {
  const attempt = {
    user: user.username,
    verb,
    group: target.resource.group,
    resource: target.resource.plural,
    ...(target.namespace === undefined ? {} : { namespace: target.namespace }),
    ...(target.name === undefined ? {} : { name: target.name }),
    ...(target.subresource === undefined ? {} : { subresource: target.subresource }),
  };
  if (!isAllowed(store, user, attempt)) throw forbidden(attempt);
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
  if (path in REVIEWS && request.method === 'POST') return answerReview(context, path, user, request, response);
  const target = parsePath(path);
  if (target === undefined) throw noSuchPath();
  await serveResource(context, user, target, url.searchParams, request, response);
}

async function answerReview(context: ApiContext, path: string, user: User, request: IncomingMessage, response: ServerResponse) {
  const attempt = { user: user.username, verb: 'create', group: path.split('/')[2] ?? '', resource: path.split('/')[4] ?? '' };
  if (!isAllowed(context.store, user, attempt)) throw forbidden(attempt);
  sendJson(response, 201, review(path, await readJson(request), user, context.tokens, context.store));
}

async function serveResource(
  context: ApiContext,
  user: User,
  target: ResourcePath,
  query: URLSearchParams,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { resource, namespace, name } = target;
  const method = request.method ?? 'GET';
  if (method === 'GET' && name === undefined) return serveCollection(context, user, target, query, response);
  if (method === 'POST' && resource.plural === 'serviceaccounts' && target.subresource === 'token') {
    authorize(context, user, 'create', target);
    const account = context.store.get(resource, namespace, name ?? '');
    return sendJson(response, 201, requestToken(context.tokens.signingKey, account, await readJson(request), API_AUDIENCE));
  }
  if (target.subresource !== undefined && target.subresource !== 'status') throw noSuchPath();
  if (method === 'GET' && name !== undefined) {
    authorize(context, user, 'get', target);
    return sendJson(response, 200, context.store.get(resource, namespace, name));
  }
  if (method === 'POST' && name === undefined) {
    authorize(context, user, 'create', target);
    return sendJson(response, 201, context.store.create(resource, checked(await readJson(request), target)));
  }
  if (method === 'PUT' && name !== undefined) {
    authorize(context, user, 'update', target);
    return sendJson(response, 200, context.store.replace(resource, checked(await readJson(request), target)));
  }
  if (method === 'PATCH' && name !== undefined) {
    authorize(context, user, 'patch', target);
    const present = context.store.get(resource, namespace, name);
    const patched = applyPatch(present, request.headers['content-type'] ?? '', await readJson(request));
    return sendJson(response, 200, context.store.replace(resource, checked(patched, target)));
  }
  if (method === 'DELETE' && name !== undefined) {
    authorize(context, user, 'delete', target);
    return sendJson(response, 200, deleteObject(context.store, target, name));
  }
  throw new ApiError(405, 'MethodNotAllowed', 'the server does not allow this method on the requested resource');
}

function serveCollection(
  context: ApiContext,
  user: User,
  target: ResourcePath,
  query: URLSearchParams,
  response: ServerResponse,
): void {
  const isWatch = query.get('watch') === 'true' || query.get('watch') === '1';
  authorize(context, user, isWatch ? 'watch' : 'list', target);
  const match = both(labelSelector(query.get('labelSelector') ?? ''), fieldSelector(query.get('fieldSelector') ?? ''));
  if (!isWatch) {
    const list = context.lister.list(
      target.resource,
      target.namespace,
      match,
      numberOf(query, 'limit') ?? 0,
      query.get('continue') ?? '',
    );
    sendJson(response, 200, list);
    return;
  }
  serveWatch(context.store, response, {
    resource: target.resource,
    namespace: target.namespace,
    match,
    from: numberOf(query, 'resourceVersion'),
    bookmarks: query.get('allowWatchBookmarks') === 'true',
    initialEvents: query.get('sendInitialEvents') === 'true',
    // Without one the real server picks a time between 30 and 60 minutes.
    timeoutMs: (numberOf(query, 'timeoutSeconds') ?? 1800) * 1000,
    bookmarkEveryMs: context.bookmarkEveryMs,
  });
}

/** A pod first gets its `deletionTimestamp`, as from a kubelet that then ends it. */
function deleteObject(store: Store, target: ResourcePath, name: string): ApiObject | Record<string, unknown> {
  const object = store.get(target.resource, target.namespace, name);
  if (target.resource.plural === 'pods') {
    const deletionTimestamp = `${new Date().toISOString().slice(0, 19)}Z`;
    store.replace(target.resource, {
      ...object,
      metadata: { ...object.metadata, deletionTimestamp, deletionGracePeriodSeconds: 1 },
    });
    return store.delete(target.resource, target.namespace, name);
  }
  store.delete(target.resource, target.namespace, name);
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', details: { name, uid: object.metadata.uid } };
}

/** The body as an object of the resource, with what the URL says filled in. */
function checked(body: unknown, target: ResourcePath): ApiObject {
  const object = body as ApiObject | undefined;
  if (typeof object !== 'object' || object === null || typeof object.metadata !== 'object')
    throw badRequest('the body is no object');
  const metadata = { ...object.metadata, ...(target.namespace === undefined ? {} : { namespace: target.namespace }) };
  if (typeof metadata.name !== 'string' || metadata.name === '') throw badRequest('name or generateName is required');
  if (target.name !== undefined && metadata.name !== target.name) {
    throw badRequest(`the name of the object (${metadata.name}) does not match the name on the URL (${target.name})`);
  }
  return { ...object, apiVersion: target.resource.apiVersion, kind: target.resource.kind, metadata };
}

function both(a: Match, b: Match): Match {
  return (object) => a(object) && b(object);
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

function sendError(response: ServerResponse, error: ApiError): void {
  if (response.headersSent) response.destroy();
  else sendJson(response, error.status, statusObject(error));
}
