import type { RequestOptions } from 'node:https';
import type { KubeConfig } from '@kubernetes/client-node';
import { EXIT, KtraceError, messageOf } from '../../util/errors.ts';
import { bodyText, sendRequest } from '../../util/http.ts';

/** The API server, asked for what the follower needs with the user's own rights. */
export interface Api {
  readonly server: string;
  /** The JSON of a path, e.g. `/api/v1/namespaces/default/pods/web`. Throws {@link ApiError}, or KTRACE_E_API_UNREACHABLE. */
  get(path: string, signal?: AbortSignal): Promise<unknown>;
  /** Another method, with a JSON body where there is one. Throws as {@link get}. */
  send(method: 'POST' | 'PUT' | 'DELETE' | 'PATCH', path: string, body?: unknown, signal?: AbortSignal): Promise<unknown>;
}

/** An answer that is not the object asked for. */
export class ApiError extends KtraceError {
  readonly status: number;
  /** Does the answer say that this one object is not there (and not that the server knows no such path)? */
  readonly isMissing: boolean;

  constructor(status: number, body: unknown, path: string) {
    const { reason, message, details } = (body ?? {}) as { reason?: string; message?: string; details?: { name?: string } };
    const said = message ?? `HTTP status ${status}`;
    const isDenied = status === 401 || status === 403;
    super(
      status === 401 ? 'KTRACE_E_API_UNAUTHORIZED' : status === 403 ? 'KTRACE_E_API_FORBIDDEN' : 'KTRACE_E_API',
      status === 401
        ? 'The API server does not accept the credentials of the kubeconfig'
        : `The API server refused ${path.split('?')[0]}: ${said}`,
      {
        exitCode: isDenied ? EXIT.notAuthorized : EXIT.failure,
        ...(status === 401 ? { hint: 'They may have expired: try kubectl get pods with the same context.' } : {}),
        ...(status === 403 ? { hint: "Your cluster's administrator can grant you that right." } : {}),
      },
    );
    this.status = status;
    this.isMissing = status === 404 && reason === 'NotFound' && details?.name !== undefined;
  }
}

/** Longest answer taken: a list of pods of a large cluster comes in pages. */
const MAX_BYTES = 64 * 1024 * 1024;

const JSON_TYPE = 'application/json';
/** A patch is a server-side apply: the object as it shall be. JSON is YAML. */
const CONTENT_TYPES: Record<string, string> = { PATCH: 'application/apply-patch+yaml' };

/** `timeoutMs`: of one request; 0: any time. */
export function createApi(config: KubeConfig, timeoutMs = 15_000): Api {
  const server = config.getCurrentCluster()?.server.replace(/\/+$/, '') ?? '';
  return {
    server,
    get: (path, signal) => ask('GET', path, undefined, signal),
    send: ask,
  };

  async function ask(method: string, path: string, sent?: unknown, signal?: AbortSignal): Promise<unknown> {
    const options: RequestOptions = {
      method,
      headers: { accept: 'application/json', 'content-type': CONTENT_TYPES[method] ?? JSON_TYPE },
    };
    try {
      await config.applyToHTTPSOptions(options);
    } catch (cause) {
      throw new KtraceError('KTRACE_E_KUBECONFIG', `The credentials of the kubeconfig cannot be used: ${messageOf(cause)}`, {
        cause,
      });
    }
    const timeout = timeoutMs === 0 ? undefined : AbortSignal.timeout(timeoutMs);
    const signals = [timeout, signal].filter((one) => one !== undefined);
    try {
      const text = sent === undefined ? undefined : JSON.stringify(sent);
      const response = await sendRequest(new URL(server + path), { ...options, signal: AbortSignal.any(signals) }, text);
      const { statusCode: status = 0 } = response;
      const body = parse(await bodyText(response, MAX_BYTES));
      if (status < 200 || status > 299) throw new ApiError(status, body, path);
      if (body === undefined)
        throw new KtraceError('KTRACE_E_API', `The API server ${server} answered with something that is not JSON`);
      return body;
    } catch (error) {
      if (error instanceof KtraceError) throw error;
      throw unreachable(server, timeout?.aborted === true ? `no answer within ${timeoutMs / 1000} s` : messageOf(error), error);
    }
  }
}

/** All items of a list, page by page. */
export async function listAll<T>(api: Api, path: string, query: Record<string, string> = {}, signal?: AbortSignal): Promise<T[]> {
  const items: T[] = [];
  for (let next: string | undefined = ''; next !== undefined; ) {
    const search = new URLSearchParams({ ...query, limit: '500', ...(next === '' ? {} : { continue: next }) });
    const page = (await api.get(`${path}?${search}`, signal)) as { items?: T[]; metadata?: { continue?: string } };
    items.push(...(page.items ?? []));
    next = page.metadata?.continue || undefined;
  }
  return items;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function unreachable(server: string, why: string, cause: unknown): KtraceError {
  return new KtraceError('KTRACE_E_API_UNREACHABLE', `The API server ${server} cannot be reached: ${why}`, {
    cause,
    hint: 'Is it the right --context, and does kubectl get nodes work?',
  });
}
