import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/**
 * A hash over files' names and contents, and over words that matter as well (flags, versions).
 * @param {string} root
 * @param {string[]} paths files, and directories to walk, relative to root; what does not exist counts as absent
 * @param {string[]} words
 */
export async function fingerprint(root, paths, words = []) {
  const hash = createHash('sha256');
  for (const word of words) hash.update(`${word}\0`);
  const files = (await Promise.all(paths.map((path) => filesUnder(root, path)))).flat().sort();
  for (const file of files) hash.update(`${file}\0`).update(await readFile(join(root, file)));
  return hash.digest('hex');
}

/** Whether a stamp holds just this fingerprint. */
export async function isStamped(stamp, value) {
  return (await readFile(stamp, 'utf8').catch(() => '')) === value;
}

export async function writeStamp(stamp, value) {
  await mkdir(dirname(stamp), { recursive: true });
  await writeFile(stamp, value);
}

async function filesUnder(root, path) {
  try {
    const entries = await readdir(join(root, path), { withFileTypes: true, recursive: true });
    return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath.slice(root.length), entry.name));
  } catch (error) {
    if (error.code === 'ENOTDIR') return [path];
    if (error.code === 'ENOENT') return [];
    throw error;
  }
}
