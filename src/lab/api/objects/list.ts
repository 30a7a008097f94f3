import { randomUUID } from 'node:crypto';
import type { ApiObject, Resource } from '../../plan/types.ts';
import type { Match } from './selectors.ts';
import { badRequest, continueExpired } from './status.ts';
import type { Store } from './store.ts';

/** Lists in pages: later pages are of the first one's version, whatever changes meanwhile, as etcd would read them. */
export class Lister {
  readonly #store: Store;
  /** Rest of each unfinished list, the newest last; bounded, a list that falls out has expired. */
  readonly #pending = new Map<string, { version: number; rest: ApiObject[] }>();

  constructor(store: Store) {
    this.#store = store;
  }

  /** @param isWhole nothing is selected: only then does the server count what is left */
  list(
    resource: Resource,
    namespace: string | undefined,
    match: Match,
    limit: number,
    token: string,
    isWhole: boolean,
  ): Record<string, unknown> {
    const { version, rest } = token === '' ? this.#start(resource, namespace, match) : this.#resume(token);
    const items = limit > 0 ? rest.slice(0, limit) : rest;
    const left = rest.slice(items.length);
    return {
      kind: `${resource.kind}List`,
      apiVersion: resource.apiVersion,
      metadata: {
        resourceVersion: String(version),
        ...(left.length === 0
          ? {}
          : { continue: this.#keep(version, left), ...(isWhole ? { remainingItemCount: left.length } : {}) }),
      },
      // Items of a list carry neither kind nor apiVersion on a real server.
      items: items.map(({ kind: _kind, apiVersion: _apiVersion, ...item }) => item),
    };
  }

  #start(resource: Resource, namespace: string | undefined, match: Match): { version: number; rest: ApiObject[] } {
    return { version: this.#store.version, rest: this.#store.list(resource, namespace).filter(match) };
  }

  #resume(token: string): { version: number; rest: ApiObject[] } {
    if (!/^[0-9a-f-]{36}$/.test(token)) throw badRequest('invalid continue token: continue key is not valid');
    const pending = this.#pending.get(token);
    if (pending === undefined) throw continueExpired();
    return pending;
  }

  #keep(version: number, rest: ApiObject[]): string {
    const token = randomUUID();
    this.#pending.set(token, { version, rest });
    const [oldest] = this.#pending.keys();
    if (this.#pending.size > 64 && oldest !== undefined) this.#pending.delete(oldest);
    return token;
  }
}
