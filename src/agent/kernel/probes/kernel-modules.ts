/** The loaded modules by name, each with its state and, where the kernel shows it, its address: `Live 0xffffffffc0a00000`. */
export type ModuleList = ReadonlyMap<string, string>;

/**
 * Without their use counts, which change all the time.
 * @param text of /proc/modules
 */
export function listModules(text: string): ModuleList {
  const lines = text.matchAll(/^(\S+) \S+ \S+ \S+ (\S+ \S+)/gm);
  return new Map([...lines].map(([, name = '', listed = '']) => [name, listed]));
}
