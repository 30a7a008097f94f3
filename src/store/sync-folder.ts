import { open } from 'node:fs/promises';

/** A new file, or a new name of one, is there after power loss only when its folder was synced. */
export async function syncFolder(directory: string): Promise<void> {
  const folder = await open(directory, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
