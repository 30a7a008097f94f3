import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../util/errors.ts';
import { type Api, type ApiResponse, RequestError } from './api.ts';
import { readJson, readLines } from './body.ts';
import { at, listAt, textAt } from './raw.ts';

/** Where the objects of one kind go. `T` is what is kept of an object. */
export interface Sink<T> {
  /** What to keep; undefined leaves the object out. */
  reduce(raw: unknown): T | undefined;
  /** All there are, at once. */
  replace(all: T[]): void;
  put(one: T): void;
  drop(one: T): void;
}

export interface ReflectorOptions {
  /** First and longest pause before trying again; a random part of it is left out, so that agents do not come together. */
  backoffMinMs: number;
  backoffMaxMs: number;
  /** How long a list may take to answer, and be silent in between. */
  listTimeoutMs: number;
  /** How long a watch may be silent: the server sends bookmarks about once a minute. */
  watchIdleMs: number;
  /** Objects in a page of a list. */
  pageSize: number;
  /** 0 to 1. */
  random: () => number;
  now: () => number;
}

export const REFLECTOR_DEFAULTS: ReflectorOptions = {
  backoffMinMs: 500,
  backoffMaxMs: 15_000,
  listTimeoutMs: 30_000,
  watchIdleMs: 90_000,
  // Larger pages leave more garbage behind at the start: with 500 an agent in a cluster of 8,000 Services took 40 MB more.
  pageSize: 200,
  random: Math.random,
  now: Date.now,
};

/** What a reflector has gone through, for metrics. */
export interface ReflectorCounts {
  lists: number;
  /** Pages of lists that were answered. */
  pages: number;
  watches: number;
  failures: number;
  events: number;
  /** Objects that could not be used. */
  unusable: number;
}

/** After so many watches in a row that failed and brought nothing, a list tells what is true. */
const MAX_FRUITLESS_WATCHES = 3;

/**
 * Keeps a sink equal to what the API server has of one kind: a paged list, then a watch from where the list was, with
 * bookmarks. Every failure is tried again with growing, jittered pauses; 410 Gone leads to a new list, which replaces the old
 * state at once, so that the sink is never empty or half in between.
 *
 * Not the informer of `@kubernetes/client-node` 2.0.1: that one stops at every error but 410, asks for no bookmarks, takes
 * the list in one piece, skips lines it cannot parse without a word, and keeps every object whole.
 */
export class Reflector<T> {
  readonly name: string;
  readonly counts: ReflectorCounts = { lists: 0, pages: 0, watches: 0, failures: 0, events: 0, unusable: 0 };
  readonly #api: Api;
  readonly #path: string;
  readonly #query: Record<string, string>;
  readonly #sink: Sink<T>;
  readonly #options: ReflectorOptions;
  readonly #abort = new AbortController();
  readonly #onState: () => void;
  /** Where to watch from; undefined: list first. */
  #version: string | undefined;
  #fruitless = 0;
  #failed = 0;
  #pagesExpired = false;
  /** Unix milliseconds since when it has not been up to date, and why; undefined while all is well. */
  stale: { sinceMs: number; reason: string } | undefined;
  isSynced = false;

  constructor(
    name: string,
    api: Api,
    path: string,
    query: Record<string, string>,
    sink: Sink<T>,
    onState: () => void,
    options: ReflectorOptions,
  ) {
    this.name = name;
    this.#api = api;
    this.#path = path;
    this.#query = query;
    this.#sink = sink;
    this.#onState = onState;
    this.#options = options;
  }

  /** Runs until {@link close}; never rejects. */
  async run(): Promise<void> {
    while (!this.#abort.signal.aborted) {
      try {
        if (this.#version === undefined) await this.#list();
        await this.#watch();
      } catch (error) {
        if (this.#abort.signal.aborted) return;
        await this.#pause(error);
      }
    }
  }

  /** Ends everything at once; the sink is not called any more. */
  close(): void {
    this.#abort.abort();
  }

  /**
   * Without a resourceVersion: the answer is never older than one seen before, even when another API server gives it.
   * Pages come from one moment; when that has expired in between, the next list is asked for in one piece.
   */
  async #list(): Promise<void> {
    const { pageSize, listTimeoutMs } = this.#options;
    const found: T[] = [];
    let next: string | undefined;
    do {
      const query: Record<string, string> = { ...this.#query };
      if (!this.#pagesExpired) query['limit'] = String(pageSize);
      if (next !== undefined) query['continue'] = next;
      const response = await this.#get(query, listTimeoutMs);
      if (response.status === 410 && next !== undefined) this.#pagesExpired = true;
      await throwUnlessOk(response, listTimeoutMs);
      this.counts.pages += 1;
      const page = await readJson(response.body, listTimeoutMs);
      const items = at(page, 'items');
      const version = textAt(page, 'metadata', 'resourceVersion');
      if (version === undefined || (items !== null && !Array.isArray(items)))
        throw new RequestError('a list without items or version');
      for (const raw of listAt(page, 'items')) this.#keep(raw, (one) => found.push(one));
      this.#version = version;
      next = textAt(page, 'metadata', 'continue');
      if (next !== undefined) this.#version = undefined;
      else this.#finishList(found, version);
    } while (next !== undefined);
  }

  #finishList(found: T[], version: string): void {
    if (this.#abort.signal.aborted) return;
    this.counts.lists += 1;
    this.#version = version;
    this.#pagesExpired = false;
    this.#fruitless = 0;
    this.#sink.replace(found);
    this.isSynced = true;
    this.#onState();
  }

  async #watch(): Promise<void> {
    const { watchIdleMs, listTimeoutMs, random, now, backoffMinMs, backoffMaxMs } = this.#options;
    const startedMs = now();
    const fromVersion = this.#version ?? '';
    const query = {
      ...this.#query,
      watch: '1',
      allowWatchBookmarks: 'true',
      resourceVersion: fromVersion,
      // The server ends a watch after this time; not all of them at once.
      timeoutSeconds: String(Math.round(300 + 300 * random())),
    };
    const response = await this.#get(query, listTimeoutMs);
    if (response.status === 410) this.#version = undefined;
    await throwUnlessOk(response, listTimeoutMs);
    this.counts.watches += 1;
    this.#fruitless += 1;
    this.#isWell();
    try {
      for await (const line of readLines(response.body, watchIdleMs)) {
        if (this.#abort.signal.aborted) return;
        this.#event(line);
      }
    } finally {
      if (now() - startedMs > backoffMaxMs) this.#failed = 0;
    }
    const isShort = now() - startedMs < backoffMinMs && this.#version === fromVersion;
    if (isShort) throw new RequestError('the API server ended a watch at once');
    this.#fruitless = 0;
  }

  #event(line: string): void {
    const event = parseEvent(line);
    if (event.type === 'ERROR') {
      const code = at(event.object, 'code');
      if (code === 410) this.#version = undefined;
      throw new RequestError(
        textAt(event.object, 'message') ?? 'the watch ended with an error',
        typeof code === 'number' ? code : undefined,
      );
    }
    const version = textAt(event.object, 'metadata', 'resourceVersion');
    if (version === undefined) throw new RequestError('a watch event without a version');
    this.counts.events += 1;
    if (event.type === 'ADDED' || event.type === 'MODIFIED') this.#keep(event.object, (one) => this.#sink.put(one));
    else if (event.type === 'DELETED') this.#keep(event.object, (one) => this.#sink.drop(one));
    else if (event.type !== 'BOOKMARK') throw new RequestError(`a watch event of unknown type ${JSON.stringify(event.type)}`);
    this.#version = version;
    this.#fruitless = 0;
    this.#failed = 0;
  }

  #keep(raw: unknown, then: (one: T) => void): void {
    const one = this.#sink.reduce(raw);
    if (one === undefined) this.counts.unusable += 1;
    else then(one);
  }

  #get(query: Record<string, string>, timeoutMs: number): Promise<ApiResponse> {
    return this.#api.get(this.#path, query, this.#abort.signal, timeoutMs);
  }

  #isWell(): void {
    if (!this.stale) return;
    this.stale = undefined;
    this.#onState();
  }

  async #pause(error: unknown): Promise<void> {
    const { backoffMinMs, backoffMaxMs, random, now } = this.#options;
    this.counts.failures += 1;
    this.#failed += 1;
    if (this.#fruitless >= MAX_FRUITLESS_WATCHES) this.#version = undefined;
    this.stale = { sinceMs: this.stale?.sinceMs ?? now(), reason: `${this.name}: ${messageOf(error)}` };
    this.#onState();
    const wished = error instanceof RequestError && error.retryAfterS !== undefined ? error.retryAfterS * 1000 : 0;
    const grown = Math.min(backoffMaxMs, backoffMinMs * 2 ** Math.min(this.#failed - 1, 16));
    const pauseMs = Math.max(Math.min(wished, backoffMaxMs), grown * (0.5 + 0.5 * random()));
    await sleep(pauseMs, undefined, { signal: this.#abort.signal }).catch(() => undefined);
  }
}

async function throwUnlessOk(response: ApiResponse, timeoutMs: number): Promise<void> {
  if (response.status === 200) return;
  const answer = await readJson(response.body, timeoutMs).catch(() => undefined);
  const message = textAt(answer, 'message') ?? `status ${response.status}`;
  throw new RequestError(message, response.status, response.retryAfterS);
}

function parseEvent(line: string): { type: unknown; object: unknown } {
  try {
    const event: unknown = JSON.parse(line);
    return { type: at(event, 'type'), object: at(event, 'object') };
  } catch {
    throw new RequestError('a line of a watch that is not JSON');
  }
}
