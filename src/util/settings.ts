import { isAbsolute } from 'node:path';
import { badArgument } from './errors.ts';

/** `sun_path` of Linux holds 108 bytes, the closing zero among them; libuv cuts a longer one silently. */
const MAX_SOCKET_PATH_BYTES = 107;

/** Values from the command line, by the flag's name in camelCase; absent or undefined where it was not given. */
export type Flags = Readonly<Record<string, string | number | boolean | undefined>>;
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Reads settings by name, a flag before its variable: `nodeName` is `--node-name` and `KTRACE_NODE_NAME`. An empty variable
 * counts as absent. Every method throws KTRACE_E_ARGUMENT (exit code 2), naming the place the value came from.
 */
export interface Settings {
  text(name: string): string | undefined;
  /** A whole number from `min` to `max`. */
  integer(name: string, min: number, max: number): number | undefined;
  oneOf<const T extends string>(name: string, choices: readonly T[]): T | undefined;
  /** Which flag and variable give this setting, for a message that it is missing. */
  names(name: string): string;
}

/** Settings out of flags and the variables that begin with `prefix`, see {@link Settings}. */
export function readSettings(flags: Flags, env: Environment, prefix = 'KTRACE_'): Settings {
  const variableOf = (name: string): string => prefix + name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
  const read = (name: string): { value: string; from: string } | undefined => {
    const flag = flags[name];
    if (flag !== undefined) return { value: String(flag), from: flagOf(name) };
    const variable = env[variableOf(name)];
    return variable === undefined || variable === '' ? undefined : { value: variable, from: variableOf(name) };
  };
  return {
    text(name) {
      const got = read(name);
      if (got?.value === '') throw badArgument(got.from, 'a value', '');
      return got?.value;
    },
    integer(name, min, max) {
      const got = read(name);
      if (!got) return undefined;
      const value = /^-?\d{1,15}$/.test(got.value) ? Number(got.value) : Number.NaN;
      if (!(value >= min && value <= max)) throw badArgument(got.from, `a whole number from ${min} to ${max}`, got.value);
      return value;
    },
    oneOf(name, choices) {
      const got = read(name);
      if (!got) return undefined;
      const choice = choices.find((one) => one === got.value);
      if (choice === undefined) throw badArgument(got.from, `one of ${choices.join(', ')}`, got.value);
      return choice;
    },
    names: (name) => `${flagOf(name)} (or ${variableOf(name)})`,
  };
}

function flagOf(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/**
 * The path itself, when a unix socket can have it.
 * @throws KtraceError KTRACE_E_ARGUMENT
 */
export function checkSocketPath(name: string, path: string): string {
  if (!isAbsolute(path) || path.includes('\0')) throw badArgument(name, 'an absolute path', path);
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES) {
    throw badArgument(name, `a path of at most ${MAX_SOCKET_PATH_BYTES} bytes (a limit of unix sockets)`, path);
  }
  return path;
}
