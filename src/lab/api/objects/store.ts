import { randomUUID } from 'node:crypto';
import type { ApiObject, Resource } from '../../plan/types.ts';
import { RESOURCES, resourceOf } from './resources.ts';
import { alreadyExists, conflict, notFound } from './status.ts';

/** One change, in the order of versions. `previous` is the object before it, for watches whose selector it leaves. */
export interface Change {
  version: number;
  type: 'ADDED' | 'MODIFIED' | 'DELETED';
  resource: Resource;
  object: ApiObject;
  previous: ApiObject | undefined;
}

/** What outlives a restart of the server, as etcd does: the objects and the last version. */
export interface Snapshot {
  version: number;
  objects: ApiObject[];
}

/** How many changes a watch may be behind, as the real server's watch cache. */
const HISTORY_LENGTH = 1000;

/** Objects with their versions, and the changes since the server started. */
export class Store {
  #version: number;
  readonly #objects = new Map<string, ApiObject>();
  readonly #history: Change[] = [];
  readonly #watchers = new Set<(change: Change) => void>();
  /** The oldest version that a watch can start from. */
  #oldest: number;

  constructor(snapshot: Snapshot) {
    this.#version = snapshot.version;
    for (const object of snapshot.objects) {
      const resource = resourceOf(object);
      // Objects of a new cluster come without versions: each takes the next, as if created one after the other.
      if (object.metadata.resourceVersion === undefined) object.metadata.resourceVersion = String(++this.#version);
      this.#objects.set(keyOf(resource, object.metadata.namespace, object.metadata.name), object);
    }
    this.#oldest = this.#version;
  }

  get version(): number {
    return this.#version;
  }

  get oldest(): number {
    return this.#oldest;
  }

  snapshot(): Snapshot {
    return { version: this.#version, objects: [...this.#objects.values()] };
  }

  /** All objects of a resource, of one namespace if given, by namespace and name. */
  list(resource: Resource, namespace?: string): ApiObject[] {
    const prefix = `${idOf(resource)} ${namespace === undefined ? '' : `${namespace}/`}`;
    return [...this.#objects.entries()]
      .filter(([key]) => key.startsWith(prefix))
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([, object]) => object);
  }

  find(resource: Resource, namespace: string | undefined, name: string): ApiObject | undefined {
    return this.#objects.get(keyOf(resource, namespace, name));
  }

  get(resource: Resource, namespace: string | undefined, name: string): ApiObject {
    const object = this.find(resource, namespace, name);
    if (object === undefined) throw notFound(resource, name);
    return object;
  }

  /** @param isDry gives what would be, and changes nothing */
  create(resource: Resource, object: ApiObject, isDry = false): ApiObject {
    const key = keyOf(resource, object.metadata.namespace, object.metadata.name);
    if (this.#objects.has(key)) throw alreadyExists(resource, object.metadata.name);
    const created = {
      ...object,
      metadata: {
        creationTimestamp: `${new Date().toISOString().slice(0, 19)}Z`,
        ...object.metadata,
        uid: object.metadata.uid ?? randomUUID(),
      },
    };
    return isDry ? created : this.#write('ADDED', resource, created, undefined);
  }

  /** Replaces an object; a version in it that is not the present one is a conflict. */
  replace(resource: Resource, object: ApiObject, isDry = false): ApiObject {
    const previous = this.get(resource, object.metadata.namespace, object.metadata.name);
    const expected = object.metadata.resourceVersion;
    if (expected !== undefined && expected !== previous.metadata.resourceVersion) throw conflict(resource, object.metadata.name);
    const { uid, creationTimestamp, resourceVersion } = previous.metadata;
    const kept = { uid, creationTimestamp, resourceVersion };
    const replaced = { ...object, metadata: { ...object.metadata, ...kept } } as ApiObject;
    return isDry ? replaced : this.#write('MODIFIED', resource, replaced, previous);
  }

  delete(resource: Resource, namespace: string | undefined, name: string): ApiObject {
    const previous = this.get(resource, namespace, name);
    return this.#write('DELETED', resource, structuredClone(previous), previous);
  }

  /** Deletes all that is in a namespace. */
  empty(namespace: string): void {
    for (const object of [...this.#objects.values()]) {
      if (object.metadata.namespace === namespace) this.delete(resourceOf(object), namespace, object.metadata.name);
    }
  }

  /** Changes after a version, oldest first; undefined when some of them are forgotten. */
  since(version: number): Change[] | undefined {
    return version < this.#oldest ? undefined : this.#history.filter((change) => change.version > version);
  }

  /** Calls `watcher` for every change from now on; the returned function ends that. */
  watch(watcher: (change: Change) => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  #write(type: Change['type'], resource: Resource, object: ApiObject, previous: ApiObject | undefined): ApiObject {
    const version = ++this.#version;
    object.metadata.resourceVersion = String(version);
    const key = keyOf(resource, object.metadata.namespace, object.metadata.name);
    if (type === 'DELETED') this.#objects.delete(key);
    else this.#objects.set(key, object);
    const change = { version, type, resource, object, previous };
    this.#history.push(change);
    if (this.#history.length > HISTORY_LENGTH) this.#oldest = this.#history.shift()?.version ?? this.#oldest;
    for (const watcher of this.#watchers) watcher(change);
    return object;
  }
}

/** Finds a resource by its place in the URL. */
export function findResource(root: string, plural: string): Resource | undefined {
  return RESOURCES.find((resource) => resource.root === root && resource.plural === plural);
}

function idOf(resource: Resource): string {
  return `${resource.group}/${resource.plural}`;
}

function keyOf(resource: Resource, namespace: string | undefined, name: string): string {
  return `${idOf(resource)} ${resource.namespaced ? `${namespace}/` : ''}${name}`;
}
