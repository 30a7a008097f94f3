import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** A lock directory without a holder's name is one whose maker died between two system calls. */
const UNNAMED_MS = 2000;

/**
 * Runs `work` while holding the checkout's set-up lock. A holder that died is noticed by its process id and start time.
 * @template T
 * @param {string} root
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function withLock(root, work) {
  const lock = join(root, 'build/.setup-lock');
  await mkdir(join(root, 'build'), { recursive: true });
  let told = false;
  while (!(await take(lock))) {
    if (await isAbandoned(lock)) {
      await discard(lock);
      continue;
    }
    if (!told) process.stderr.write('setup: another set-up of this checkout is running, waiting for it\n');
    told = true;
    await sleep(100);
  }
  try {
    return await work();
  } finally {
    await rm(lock, { recursive: true, force: true });
  }
}

async function take(lock) {
  try {
    await mkdir(lock);
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw error;
  }
  await writeFile(join(lock, 'holder'), `${process.pid} ${await startTimeOf(process.pid)}`);
  return true;
}

async function isAbandoned(lock) {
  try {
    const [pid, startTime] = (await readFile(join(lock, 'holder'), 'utf8')).split(' ');
    if (startTime !== undefined) return (await startTimeOf(pid)) !== startTime;
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
  }
  const made = await stat(lock).catch(() => undefined);
  return made !== undefined && Date.now() - made.mtimeMs > UNNAMED_MS;
}

/** Renaming decides between several that found the same dead holder: only one of them moves the directory away. */
async function discard(lock) {
  const away = `${lock}.${process.pid}`;
  try {
    await rename(lock, away);
  } catch (error) {
    if (error.code === 'ENOENT') return;
    throw error;
  }
  await rm(away, { recursive: true, force: true });
}

/** Field 22 of /proc/PID/stat (proc(5)), counted after the command name, which may hold anything; empty when the process is gone. */
async function startTimeOf(pid) {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return '';
  }
}
