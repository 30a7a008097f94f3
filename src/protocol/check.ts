/** What was expected, and where below the value that was checked. */
export interface Wrong {
  expected: string;
  path: readonly (string | number)[];
}

/** Undefined: the value is as it must be. Stops at the first thing that is not. */
export type Check = (value: unknown) => Wrong | undefined;

export type JsonObject = Record<string, unknown>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A check by a condition. */
export function is(expected: string, holds: (value: unknown) => boolean): Check {
  return (value) => (holds(value) ? undefined : { expected, path: [] });
}

/** A check that tells of what is wrong below as one thing. */
export function named(expected: string, check: Check): Check {
  return is(expected, (value) => check(value) === undefined);
}

export function optional(check: Check): Check {
  return (value) => (value === undefined ? undefined : check(value));
}

export const text = is('a string', (value) => typeof value === 'string');

export function textOf(least: number, most: number): Check {
  return is(
    `a string of ${least} to ${most} characters`,
    (value) => typeof value === 'string' && value.length >= least && value.length <= most,
  );
}

export const flag = is('true or false', (value) => typeof value === 'boolean');

export function oneOf(...values: readonly (string | boolean)[]): Check {
  const expected = values.map((value) => (typeof value === 'string' ? `'${value}'` : String(value))).join(' | ');
  return is(expected, (value) => values.includes(value as string));
}

export const amount = is('a number', (value) => typeof value === 'number');

export function amountOf(least: number, most: number): Check {
  return is(`a number from ${least} to ${most}`, (value) => typeof value === 'number' && value >= least && value <= most);
}

/** A whole number, not negative. */
export const count = wholeOf(0, Number.MAX_SAFE_INTEGER, 'a whole number');

export function wholeOf(least: number, most: number, expected = `a whole number from ${least} to ${most}`): Check {
  return is(expected, (value) => Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most);
}

export function listOf(item: Check, least = 0, most = Number.POSITIVE_INFINITY): Check {
  const from = least === 0 ? '' : `at least ${least}`;
  const to = most === Number.POSITIVE_INFINITY ? '' : `at most ${most}`;
  const size = [from, to].filter((part) => part !== '').join(' and ');
  const expected = size === '' ? 'an array' : `an array of ${size}`;
  return (value) => {
    if (!Array.isArray(value) || value.length < least || value.length > most) return { expected, path: [] };
    for (let at = 0; at < value.length; at++) {
      const wrong = item(value[at]);
      if (wrong !== undefined) return below(at, wrong);
    }
    return undefined;
  };
}

/** An object with these fields; others are left as they are. */
export function fields(checks: Readonly<Record<string, Check>>): Check {
  // Read for each event of a stream: two plain arrays are read in half the time of one of pairs.
  const keys = Object.keys(checks);
  const checkOf = Object.values(checks);
  return (value) => {
    if (!isObject(value)) return { expected: 'an object', path: [] };
    for (let at = 0; at < keys.length; at++) {
      const wrong = (checkOf[at] as Check)(value[keys[at] as string]);
      if (wrong !== undefined) return below(keys[at] as string, wrong);
    }
    return undefined;
  };
}

/** An object with these fields and no others. */
export function exactly(checks: Readonly<Record<string, Check>>): Check {
  const known = fields(checks);
  return (value) => {
    const wrong = known(value);
    if (wrong !== undefined) return wrong;
    const unknown = Object.keys(value as JsonObject).find((key) => !Object.hasOwn(checks, key));
    return unknown === undefined ? undefined : { expected: 'no field of this name', path: [unknown] };
  };
}

/** An object that one of its fields says the kind of. */
export function tagged(key: string, kinds: Readonly<Record<string, Readonly<Record<string, Check>>>>): Check {
  const tag = oneOf(...Object.keys(kinds));
  const checks = new Map(Object.entries(kinds).map(([kind, checked]) => [kind, exactly({ [key]: tag, ...checked })]));
  return (value) => {
    if (!isObject(value)) return { expected: 'an object', path: [] };
    const wrong = tag(value[key]);
    return wrong === undefined ? checks.get(value[key] as string)?.(value) : below(key, wrong);
  };
}

function below(key: string | number, { expected, path }: Wrong): Wrong {
  return { expected, path: [key, ...path] };
}
