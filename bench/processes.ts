import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';

/** Ticks of the clock in /proc/PID/stat: USER_HZ, 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

/** The command in a network namespace, with the namespace alone changed. */
export function inNamespace(namespace: string, argv: readonly string[]): string[] {
  return ['nsenter', `--net=/run/netns/${namespace}`, ...argv];
}

/** Starts a process whose output nobody reads. */
export function startQuiet(argv: readonly string[]): ChildProcess {
  const [program = '', ...args] = argv;
  return spawn(program, args, { stdio: 'ignore' });
}

/** Ends a process that was started here, and waits until it is gone. */
export async function end(child: ChildProcess, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill(signal);
  await gone;
}

/** CPU seconds that processes have used so far, user and system. A process that is gone counts no more. */
export function cpuSeconds(pids: readonly number[]): number {
  let ticks = 0;
  for (const pid of pids) {
    const text = readText(`/proc/${pid}/stat`);
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    ticks += Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
  }
  return ticks / TICKS_PER_SECOND;
}

/** Resident memory in bytes. */
export function residentBytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readText(`/proc/${pid}/status`))?.[1] ?? 0) * 1024;
}

/** The BPF programs that a process holds: id → runs and nanoseconds so far (zero unless the kernel's statistics are on). */
export function programsOf(pid: number): Map<number, { runs: number; ns: number }> {
  const programs = new Map<number, { runs: number; ns: number }>();
  for (const fd of readdirSync(`/proc/${pid}/fdinfo`)) {
    const text = readText(`/proc/${pid}/fdinfo/${fd}`);
    const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1] ?? Number.NaN);
    const id = field('prog_id');
    // Links have a prog_id as well, and no counts.
    if (!Number.isNaN(id) && !Number.isNaN(field('run_cnt')))
      programs.set(id, { runs: field('run_cnt'), ns: field('run_time_ns') });
  }
  return programs;
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
