import { readdirSync, readFileSync, statSync } from 'node:fs';

/** A process beyond doubt: numbers are used again, a number with its start time is not. */
export interface ProcessId {
  pid: number;
  /** Clock ticks since boot: field 22 of /proc/PID/stat (proc(5)). */
  startTime: string;
}

/** The identity of a running process; undefined when there is none of this number, or only its remains. */
export function identify(pid: number): ProcessId | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The command name is in parentheses and may hold spaces and parentheses itself.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [state, startTime] = [fields[0], fields[19]];
    return startTime === undefined || state === 'Z' || state === 'X' ? undefined : { pid, startTime };
  } catch {
    return undefined;
  }
}

/** Whether exactly this process still runs. */
export function isRunning(process: ProcessId): boolean {
  return identify(process.pid)?.startTime === process.startTime;
}

/** Sends a signal to exactly this process, if it still runs. */
export function signal(id: ProcessId, name: NodeJS.Signals): void {
  if (!isRunning(id)) return;
  try {
    process.kill(id.pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** All processes for which `match` holds. */
export function findProcesses(match: (pid: number) => boolean): ProcessId[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map((entry) => identify(Number(entry)))
    .filter((id): id is ProcessId => id !== undefined && match(id.pid));
}

/** Whether a process was started with this environment variable set to this value. */
export function hasEnvironment(pid: number, key: string, value: string): boolean {
  try {
    return `\0${readFileSync(`/proc/${pid}/environ`, 'utf8')}`.includes(`\0${key}=${value}\0`);
  } catch {
    return false;
  }
}

/** The network namespace a process is in, as its inode number; undefined when it is gone. */
export function networkNamespaceOf(pid: number): number | undefined {
  try {
    return statSync(`/proc/${pid}/ns/net`).ino;
  } catch {
    return undefined;
  }
}
