import type { IncomingMessage } from 'node:http';
import { messageOf } from '../../../util/errors.ts';
import type { Resource } from '../../plan/types.ts';
import { RESOURCES } from './resources.ts';
import { badRequest } from './status.ts';
import { findResource } from './store.ts';

/** A request path taken apart. */
export interface ResourcePath {
  resource: Resource;
  namespace: string | undefined;
  name: string | undefined;
  subresource: string | undefined;
}

/** Bytes of a request's body that are read at most. */
const MAX_BODY = 4 << 20;

/** Takes `/api/v1/namespaces/NS/pods/NAME/portforward` and its like apart; undefined when no resource is meant. */
export function parsePath(path: string): ResourcePath | undefined {
  const match = /^(\/api\/v1|\/apis\/[^/]+\/[^/]+)\/(.+)$/.exec(path);
  if (match === null) return undefined;
  const [, root = '', rest = ''] = match;
  const parts = rest.split('/').map(decodeURIComponent);
  if (parts[0] === 'namespaces' && parts[2] !== undefined) {
    const resource = findResource(root, parts[2]);
    if (resource?.namespaced) return { resource, namespace: parts[1], name: parts[3], subresource: parts[4] };
  }
  const resource = findResource(root, parts[0] ?? '');
  return resource === undefined ? undefined : { resource, namespace: undefined, name: parts[1], subresource: parts[2] };
}

/** Whether a path begins as those of a group that is served. */
export function isKnownRoot(path: string): boolean {
  return RESOURCES.some(({ root }) => path.startsWith(`${root}/`));
}

/** The request's body as JSON; undefined when it is empty. @param kind what it should be */
export async function readJson(request: IncomingMessage, kind = ''): Promise<unknown> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY) throw badRequest(`the body is longer than ${MAX_BODY} bytes`);
    chunks.push(chunk);
  }
  if (size === 0) return undefined;
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch (error) {
    const type = kind === '' ? '' : ` (must be of type ${kind})`;
    throw badRequest(
      `the object provided is unrecognized${type}: couldn't get version/kind; json parse error: ${messageOf(error)}`,
    );
  }
}
