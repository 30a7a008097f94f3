import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { command, SetupError, step } from './step.mjs';

/** `npm ci` when what is installed is not what the lock file says, then makes sure that Node 24 is there. */
export async function installNodePackages(root) {
  if (!(await isInstalled(root))) {
    await step('installing npm packages', () =>
      command('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], { cwd: root }),
    );
  }
  if (!existsSync(join(root, 'node_modules/.bin/node'))) {
    throw new SetupError(
      `There is no Node 24 package for ${process.platform} ${process.arch}: ktrace runs on Linux on x64 and arm64`,
    );
  }
}

/**
 * npm writes what it installed beside it, in the lock file's own form and as its last act. Optional packages may be missing there:
 * they are for other machines.
 */
async function isInstalled(root) {
  const [wanted, installed] = await Promise.all([
    packagesOf(join(root, 'package-lock.json')),
    packagesOf(join(root, 'node_modules/.package-lock.json')),
  ]);
  if (wanted === undefined) throw new SetupError('package-lock.json is missing or unreadable: this checkout is incomplete');
  if (installed === undefined) return false;
  const isSame = ([path, entry]) =>
    installed[path] === undefined
      ? entry.optional === true
      : installed[path].integrity === entry.integrity && installed[path].version === entry.version;
  return Object.entries(wanted)
    .filter(([path]) => path !== '')
    .every(isSame);
}

async function packagesOf(file) {
  try {
    return JSON.parse(await readFile(file, 'utf8')).packages;
  } catch {
    return undefined;
  }
}
