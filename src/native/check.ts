import { badArgument } from '../util/errors.ts';

/** The checks that the addon relies on; each throws KTRACE_E_ARGUMENT and names what it got. */

const MAX_U32 = 0xffff_ffff;

export function checkText(name: string, value: unknown): asserts value is string {
  if (typeof value !== 'string' || value === '') throw badArgument(name, 'a non-empty string', value);
}

/** An integer in `min`..`max`. */
export function checkInteger(name: string, value: unknown, min = 0, max = MAX_U32): asserts value is number {
  if (!Number.isInteger(value) || (value as number) < min || (value as number) > max) {
    throw badArgument(name, `an integer from ${min} to ${max}`, value);
  }
}

export function checkShare(name: string, value: unknown): asserts value is number {
  if (typeof value !== 'number' || !(value > 0 && value <= 1))
    throw badArgument(name, 'a number above 0 and of 1 at most', value);
}

/** Bytes, exactly `size` of them when given. */
export function checkBytes(name: string, value: unknown, size?: number): asserts value is Uint8Array {
  if (!(value instanceof Uint8Array)) throw badArgument(name, 'a Uint8Array', value);
  if (size !== undefined && value.byteLength !== size) throw badArgument(name, `${size} bytes`, `${value.byteLength} bytes`);
}

export function checkBoolean(name: string, value: unknown): asserts value is boolean {
  if (typeof value !== 'boolean') throw badArgument(name, 'true or false', value);
}

export function checkFunction(name: string, value: unknown): void {
  if (typeof value !== 'function') throw badArgument(name, 'a function', value);
}

export function checkOneOf(name: string, value: unknown, choices: readonly string[]): void {
  if (!choices.includes(value as string)) throw badArgument(name, `one of ${choices.join(', ')}`, value);
}

/** A record whose values each pass `check`. */
export function checkRecord<T>(name: string, value: Record<string, T>, check: (name: string, value: unknown) => void): void {
  if (typeof value !== 'object' || value === null) throw badArgument(name, 'an object', value);
  for (const [key, entry] of Object.entries(value)) check(`${name}.${key}`, entry);
}
