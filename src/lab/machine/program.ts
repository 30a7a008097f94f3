import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * The command that runs a program beside the module `from`. In the sources it is a `.ts` file, which Node runs as it is;
 * in the built package it is `.js`.
 */
export function siblingProgram(from: string, path: string): string[] {
  const file = fileURLToPath(new URL(path, from));
  const built = from.endsWith('.js') ? file.replace(/\.ts$/, '.js') : file;
  return [process.execPath, '--disable-warning=ExperimentalWarning', built];
}

/** The package's root directory: the nearest one above that has ktrace's package.json. */
export function projectRoot(): string {
  let directory = dirname(fileURLToPath(import.meta.url));
  while (!isRoot(directory)) {
    const parent = dirname(directory);
    if (parent === directory) throw new Error(`no package.json of ktrace above ${fileURLToPath(import.meta.url)}`);
    directory = parent;
  }
  return directory;
}

function isRoot(directory: string): boolean {
  const file = join(directory, 'package.json');
  return existsSync(file) && (JSON.parse(readFileSync(file, 'utf8')) as { name?: string }).name === 'ktrace';
}
