/** Reads values out of objects that come from outside: whatever is not what was expected reads as absent. */

/** The value under a path of keys. */
export function at(object: unknown, ...path: string[]): unknown {
  let value = object;
  for (const key of path) {
    if (typeof value !== 'object' || value === null) return undefined;
    value = (value as Record<string, unknown>)[key];
  }
  return value;
}

export function textAt(object: unknown, ...path: string[]): string | undefined {
  const value = at(object, ...path);
  return typeof value === 'string' && value !== '' ? value : undefined;
}

export function listAt(object: unknown, ...path: string[]): unknown[] {
  const value = at(object, ...path);
  return Array.isArray(value) ? value : [];
}

export function textsAt(object: unknown, ...path: string[]): string[] {
  return listAt(object, ...path).filter((value) => typeof value === 'string');
}

/** Unix milliseconds of an RFC 3339 time. */
export function timeAt(object: unknown, ...path: string[]): number | undefined {
  const text = textAt(object, ...path);
  const ms = text === undefined ? Number.NaN : Date.parse(text);
  return Number.isNaN(ms) ? undefined : ms;
}

export function portAt(object: unknown, ...path: string[]): number | undefined {
  const value = at(object, ...path);
  return typeof value === 'number' && Number.isInteger(value) && value > 0 && value < 65536 ? value : undefined;
}

/** Keys and values that are both text. */
export function labelsAt(object: unknown, ...path: string[]): Record<string, string> {
  const out: Record<string, string> = {};
  const value = at(object, ...path);
  if (typeof value !== 'object' || value === null) return out;
  for (const [key, one] of Object.entries(value)) if (typeof one === 'string') out[intern(key)] = intern(one);
  return out;
}

const MAX_POOL = 20_000;
const pool = new Map<string, string>();

/** One copy of a text that many objects repeat (namespaces, node names, labels). The pool is bounded by starting anew. */
export function intern(text: string): string {
  const known = pool.get(text);
  if (known !== undefined) return known;
  if (pool.size >= MAX_POOL) pool.clear();
  pool.set(text, text);
  return text;
}
