import { isDeepStrictEqual } from 'node:util';
import type { ApiObject } from '../../plan/types.ts';
import { StatusError } from './status.ts';

/** What `metadata.managedFields` says of one manager. */
interface Managed {
  manager: string;
  operation: 'Apply';
  apiVersion: string;
  time: string;
  fieldsType: 'FieldsV1';
  fieldsV1: Fields;
}
interface Fields {
  [field: `f:${string}`]: Fields;
}
type Json = Record<string, unknown>;
type Path = readonly string[];

/**
 * Server-side apply (Kubernetes `structured-merge-diff`), as far as appliers among themselves see it: what a manager applies is set and its own,
 * what it applied before and does not any more goes, what another one applied otherwise is a conflict or, by force, taken over. Lists are
 * taken whole, and owners by other ways than apply are not kept. An object that stays as it was is given back as it is.
 *
 * @throws StatusError 409 for conflicts
 */
export function applyConfiguration(
  present: ApiObject | undefined,
  applied: ApiObject,
  manager: string,
  isForced: boolean,
  now: Date,
): ApiObject {
  const { apiVersion, kind, metadata } = applied;
  const { name, namespace } = metadata;
  const result: ApiObject =
    present === undefined
      ? { apiVersion, kind, metadata: { name, ...(namespace === undefined ? {} : { namespace }) } }
      : structuredClone(present);
  const all = (result.metadata['managedFields'] ?? []) as Managed[];
  const mine = all.find((one) => one.manager === manager);
  const others = all.filter((one) => one !== mine);
  const paths = leaves(applied).filter((path) => !IDENTITY.has(path.join('.')));
  const disputed = others.flatMap(({ manager: other, fieldsV1 }) =>
    paths.filter((path) => isOwned(fieldsV1, path) && differs(result, applied, path)).map((path) => ({ other, path })),
  );
  if (disputed.length > 0 && !isForced) throw conflictOf(disputed);
  for (const { other, path } of disputed) disown(others.find((one) => one.manager === other)?.fieldsV1 ?? {}, path);
  for (const path of ownedPaths(mine?.fieldsV1 ?? {})) {
    const isKept = paths.some((kept) => isDeepStrictEqual(kept, path)) || others.some(({ fieldsV1 }) => isOwned(fieldsV1, path));
    if (!isKept) unset(result, path);
  }
  for (const path of paths) set(result, path, read(applied, path));
  const fieldsV1 = fieldsOf(paths);
  const isSame = isDeepStrictEqual(mine?.fieldsV1, fieldsV1);
  const own: Managed =
    isSame && mine !== undefined
      ? mine
      : { manager, operation: 'Apply', apiVersion, time: `${now.toISOString().slice(0, 19)}Z`, fieldsType: 'FieldsV1', fieldsV1 };
  result.metadata['managedFields'] = [...others.filter((one) => Object.keys(one.fieldsV1).length > 0), own];
  return present !== undefined && isDeepStrictEqual(present, result) ? present : result;
}

/** Not content, but which object it is. */
const IDENTITY = new Set(['apiVersion', 'kind', 'metadata.name', 'metadata.namespace']);

function conflictOf(disputed: readonly { other: string; path: Path }[]): StatusError {
  const causes = disputed.map(({ other, path }) => ({
    reason: 'FieldManagerConflict',
    message: `conflict with "${other}"`,
    field: `.${path.join('.')}`,
  }));
  const count = causes.length === 1 ? '1 conflict' : `${causes.length} conflicts`;
  const list = causes.map(({ message, field }) => `${message}: ${field}`).join('\n');
  return new StatusError(409, 'Conflict', `Apply failed with ${count}: ${list}`, { causes });
}

function leaves(value: unknown, at: Path = []): Path[] {
  if (!isMap(value) || (at.length > 0 && Object.keys(value).length === 0)) return [at];
  return Object.entries(value).flatMap(([key, one]) => leaves(one, [...at, key]));
}

function ownedPaths(fields: Fields, at: Path = []): Path[] {
  const entries = Object.entries(fields);
  if (entries.length === 0) return at.length === 0 ? [] : [at];
  return entries.flatMap(([field, inner]) => ownedPaths(inner, [...at, field.slice(2)]));
}

function fieldsOf(paths: readonly Path[]): Fields {
  const root: Fields = {};
  for (const path of paths) {
    let fields = root;
    for (const key of path) {
      fields[`f:${key}`] ??= {};
      fields = fields[`f:${key}`] as Fields;
    }
  }
  return root;
}

function isOwned(fields: Fields, path: Path): boolean {
  return ownedPaths(fields).some((owned) => isDeepStrictEqual(owned, path));
}

function disown(fields: Fields, [key = '', ...rest]: Path): void {
  const inner = fields[`f:${key}`];
  if (inner === undefined) return;
  if (rest.length > 0) disown(inner, rest);
  if (Object.keys(inner).length === 0) delete fields[`f:${key}`];
}

function differs(a: unknown, b: unknown, path: Path): boolean {
  return !isDeepStrictEqual(read(a, path), read(b, path));
}

function read(value: unknown, path: Path): unknown {
  return path.reduce<unknown>((at, key) => (isMap(at) ? at[key] : undefined), value);
}

function set(object: Json, path: Path, value: unknown): void {
  let at = object;
  for (const key of path.slice(0, -1)) {
    if (!isMap(at[key])) at[key] = {};
    at = at[key] as Json;
  }
  at[path.at(-1) ?? ''] = structuredClone(value);
}

/** The field goes, and the maps that are empty without it. */
function unset(object: Json, [key = '', ...rest]: Path): void {
  const inner = object[key];
  if (rest.length === 0) delete object[key];
  else if (isMap(inner)) {
    unset(inner, rest);
    if (Object.keys(inner).length === 0) delete object[key];
  }
}

function isMap(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
