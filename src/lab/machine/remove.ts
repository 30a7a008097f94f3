import { existsSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { namespacePrefix } from './network.ts';
import { findProcesses, hasEnvironment, isRunning, networkNamespaceOf, type ProcessId } from './proc.ts';
import { endAll, recordedProcesses, STATE_VARIABLE } from './processes.ts';
import { run } from './run.ts';
import { isLeftover, labDirectory, labNames } from './state.ts';

const NETNS_ROOT = '/run/netns';

/**
 * Takes everything of a lab away, whole or half of one: its processes (agents first get the chance to detach), its
 * namespaces with all that is in them, its directory. Nothing of another lab or of the machine is touched: a process is
 * the lab's when it is recorded with its start time, carries the lab's mark, or lives in one of its namespaces.
 */
export async function removeLab(name: string, root?: string): Promise<void> {
  const directory = labDirectory(name, root);
  await endAll(() => agentsOf(directory), 'SIGTERM');
  await endAll(() => processesOf(name, directory), 'SIGKILL');
  const namespaces = namespacesOf(name);
  if (namespaces.length > 0) {
    const commands = namespaces.map((namespace) => `netns del ${namespace}\n`).join('');
    await run(['ip', '-force', '-batch', '-'], { input: commands }).catch((error: unknown) => {
      // Another process may have deleted some of them meanwhile: what counts is that none is left.
      if (namespacesOf(name).length > 0) throw error;
    });
  }
  rmSync(directory, { recursive: true, force: true });
}

/** Removes what starts that were killed halfway, and bound labs whose owner is gone, left behind; gives their names. */
export async function removeLeftovers(root?: string): Promise<string[]> {
  const names = labNames(root).filter((name) => isLeftover(labDirectory(name, root)));
  for (const name of names) await removeLab(name, root);
  return names;
}

/** The namespaces of a lab, by the names they are mounted under. */
export function namespacesOf(name: string): string[] {
  return existsSync(NETNS_ROOT) ? readdirSync(NETNS_ROOT).filter((entry) => entry.startsWith(namespacePrefix(name))) : [];
}

/** All processes of a lab. */
export function processesOf(name: string, directory: string): ProcessId[] {
  const inodes = new Set<number | undefined>(namespacesOf(name).map((namespace) => inodeOf(join(NETNS_ROOT, namespace))));
  // A process that is gone has no namespace, and this one's own is never a lab's.
  for (const foreign of [undefined, networkNamespaceOf(process.pid)]) inodes.delete(foreign);
  const recorded = new Set(
    recordedProcesses(directory)
      .filter(isRunning)
      .map((record) => record.pid),
  );
  return findProcesses(
    (pid) =>
      pid !== process.pid &&
      (recorded.has(pid) || inodes.has(networkNamespaceOf(pid)) || hasEnvironment(pid, STATE_VARIABLE, directory)),
  );
}

/** All processes in a network namespace. */
export function processesIn(namespace: string): ProcessId[] {
  const inode = inodeOf(join(NETNS_ROOT, namespace));
  return inode === undefined ? [] : findProcesses((pid) => networkNamespaceOf(pid) === inode);
}

function agentsOf(directory: string): ProcessId[] {
  return recordedProcesses(directory).filter((record) => record.name.startsWith('agent-') && isRunning(record));
}

function inodeOf(path: string): number | undefined {
  try {
    return statSync(path).ino;
  } catch {
    return undefined;
  }
}
