import type { ServerResponse } from 'node:http';
import type { ApiObject, Resource } from '../../plan/types.ts';
import type { Match } from './selectors.ts';
import { statusObject, tooOld } from './status.ts';
import type { Change, Store } from './store.ts';

export interface WatchOptions {
  resource: Resource;
  namespace: string | undefined;
  match: Match;
  /** Version to start after; undefined or 0: with all present objects first. */
  from: number | undefined;
  bookmarks: boolean;
  /** End the present objects with a marked bookmark (`sendInitialEvents`). */
  initialEvents: boolean;
  timeoutMs: number;
  /** How often an idle watch gets a bookmark; the real server takes about a minute. */
  bookmarkEveryMs: number;
}

const BOOKMARK_BEFORE_END_MS = 2000;

/** Serves one watch as lines of JSON until the client leaves or the time is over. A version too old is told as an ERROR event, code 410. */
export function serveWatch(store: Store, response: ServerResponse, options: WatchOptions): void {
  response.writeHead(200, { 'content-type': 'application/json', 'transfer-encoding': 'chunked' });
  // An informer waits for the headers before it believes that the watch stands.
  response.flushHeaders();
  const send = (type: string, object: unknown) => response.write(`${JSON.stringify({ type, object })}\n`);
  const backlog = options.from === undefined || options.from === 0 ? presentObjects(store, options) : store.since(options.from);
  if (backlog === undefined) {
    send('ERROR', statusObject(tooOld(options.from ?? 0, store.oldest)));
    response.end();
    return;
  }
  for (const change of backlog) sendChange(change, options, send);
  if (options.initialEvents) send('BOOKMARK', bookmark(store, options.resource, true));
  const unwatch = store.watch((change) => sendChange(change, options, send));
  const bookmarks = setInterval(() => {
    if (options.bookmarks) send('BOOKMARK', bookmark(store, options.resource, false));
  }, options.bookmarkEveryMs);
  // A last one, for who will watch on from there (`cacheWatcher.nextBookmarkTime`).
  const last = setTimeout(() => {
    if (options.bookmarks) send('BOOKMARK', bookmark(store, options.resource, false));
  }, options.timeoutMs - BOOKMARK_BEFORE_END_MS);
  const end = setTimeout(() => response.end(), options.timeoutMs);
  response.on('close', () => {
    unwatch();
    clearInterval(bookmarks);
    clearTimeout(last);
    clearTimeout(end);
  });
}

/** An object that comes into a selector's view is ADDED to it, one that leaves it is DELETED from it. */
function sendChange(change: Change, options: WatchOptions, send: (type: string, object: unknown) => void): void {
  const isOther = change.resource !== options.resource;
  if (isOther || (options.namespace !== undefined && change.object.metadata.namespace !== options.namespace)) return;
  const isIn = options.match(change.object);
  const wasIn = change.previous !== undefined && options.match(change.previous);
  if (change.type === 'DELETED') {
    if (wasIn) send('DELETED', change.object);
  } else if (isIn) {
    send(change.type === 'MODIFIED' && !wasIn ? 'ADDED' : change.type, change.object);
  } else if (wasIn) {
    send('DELETED', change.object);
  }
}

function presentObjects(store: Store, options: WatchOptions): Change[] {
  return store.list(options.resource, options.namespace).map((object: ApiObject) => ({
    version: Number(object.metadata.resourceVersion),
    type: 'ADDED' as const,
    resource: options.resource,
    object,
    previous: undefined,
  }));
}

function bookmark(store: Store, resource: Resource, endsInitialEvents: boolean): object {
  return {
    kind: resource.kind,
    apiVersion: resource.apiVersion,
    metadata: {
      resourceVersion: String(store.version),
      ...(endsInitialEvents ? { annotations: { 'k8s.io/initial-events-end': 'true' } } : {}),
    },
  };
}
