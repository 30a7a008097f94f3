import { existsSync } from 'node:fs';
import { rename, rm, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { fingerprint, isStamped, writeStamp } from './fingerprint.mjs';
import { command, step } from './step.mjs';

/**
 * Compiles src/ to dist/ when it changed. Built beside and swapped, so that dist/ never holds files whose source is gone. A file that was only written
 * anew makes dist/ as new as it is: bin/ktrace compares times, and would run the sources.
 */
export async function compile(root) {
  const begun = new Date();
  const out = join(root, 'dist');
  const main = join(out, 'cli/main.js');
  const value = await fingerprint(root, ['src', 'tsconfig.json', 'tsconfig.build.json', 'package-lock.json']);
  if (existsSync(main) && (await isStamped(join(out, '.sources'), value))) {
    await utimes(main, begun, begun);
    return;
  }
  await step('compiling src/', async () => {
    // Under the set-up's lock, so one name is enough; a killed run's rest is removed here.
    const fresh = join(root, 'build/dist');
    await rm(fresh, { recursive: true, force: true });
    await command(join(root, 'node_modules/.bin/tsc'), ['-p', 'tsconfig.build.json', '--outDir', fresh], { cwd: root });
    await writeStamp(join(fresh, '.sources'), value);
    await rm(out, { recursive: true, force: true });
    await rename(fresh, out);
  });
}
