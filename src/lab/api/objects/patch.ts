import type { ApiObject } from '../../plan/types.ts';
import { badRequest, StatusError, unprocessable } from './status.ts';

/**
 * Applies a patch to a copy of an object: JSON patch (RFC 6902: add, replace, remove) or merge patch (RFC 7396).
 * A strategic merge patch is taken as a merge patch: lists are replaced whole.
 */
export function applyPatch(object: ApiObject, contentType: string, patch: unknown): ApiObject {
  const copy = structuredClone(object);
  const type = contentType.split(';')[0]?.trim();
  if (type === 'application/json-patch+json') return jsonPatch(copy, patch);
  if (type === 'application/merge-patch+json' || type === 'application/strategic-merge-patch+json')
    return merge(copy, patch) as ApiObject;
  throw new StatusError(415, 'UnsupportedMediaType', '415: Unsupported Media Type', {});
}

type Json = Record<string, unknown>;

function merge(target: unknown, patch: unknown): unknown {
  if (!isRecord(patch)) return patch;
  const result: Json = isRecord(target) ? target : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else result[key] = merge(result[key], value);
  }
  return result;
}

function jsonPatch(object: ApiObject, patch: unknown): ApiObject {
  if (!Array.isArray(patch)) throw badRequest('a JSON patch is a list of operations');
  for (const { op, path, value } of patch as { op: string; path: string; value: unknown }[]) {
    const keys = path
      .split('/')
      .slice(1)
      .map((key) => key.replaceAll('~1', '/').replaceAll('~0', '~'));
    const last = keys.pop() ?? '';
    const parent = keys.reduce<unknown>((at, key) => (at as Json | undefined)?.[key], object);
    if (typeof parent !== 'object' || parent === null) throw unprocessable();
    if (op !== 'add' && !(last in parent)) throw unprocessable();
    if (Array.isArray(parent)) patchList(parent, op, last, value);
    else if (op === 'remove') delete (parent as Json)[last];
    else (parent as Json)[last] = value;
  }
  return object;
}

function patchList(list: unknown[], op: string, key: string, value: unknown): void {
  const index = key === '-' ? list.length : Number(key);
  if (op === 'remove') list.splice(index, 1);
  else if (op === 'replace') list[index] = value;
  else list.splice(index, 0, value);
}

function isRecord(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
