import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { dirname, join, resolve } from 'node:path';

/**
 * Writes a TypeScript file of ours and all that it imports as plain JavaScript under `folder`, and gives the first one's path there. Under
 * emulation Node would take most of a minute to strip the types itself, by WebAssembly.
 * @param root the checkout; `entry` is relative to it
 */
export function writePlainScript(root: string, entry: string, folder: string): string {
  const written = new Set<string>();
  const write = (file: string) => {
    if (written.has(file)) return;
    written.add(file);
    const target = plain(join(folder, file));
    const source = stripTypeScriptTypes(readFileSync(join(root, file), 'utf8'));
    const code = source.replace(/(\bfrom |\bimport )'(\.[^']+)\.ts'/g, (_, verb: string, path: string) => {
      write(resolve('/', dirname(file), `${path}.ts`).slice(1));
      return `${verb}'${path}.mjs'`;
    });
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, code);
  };
  write(entry);
  return plain(join(folder, entry));
}

function plain(file: string): string {
  return file.replace(/\.ts$/, '.mjs');
}
