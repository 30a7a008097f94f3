import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import type { Lab } from '../../src/lab/lab.ts';
import { findProcesses, hasEnvironment } from '../../src/lab/machine/proc.ts';

/** What a process of ktrace holds at a moment. */
export interface Figures {
  residentBytes: number;
  files: number;
  maps: number;
  programs: number;
  links: number;
}

export type Sample = Record<string, Figures>;

/** The figures of every agent and gate of a lab, by name (`agent-host1`). */
export function sample(lab: Lab): Sample {
  const sampled: Sample = {};
  for (const { pid } of findProcesses((pid) => hasEnvironment(pid, 'KTRACE_LAB_STATE', lab.directory))) {
    const name = partOf(pid);
    if (name !== undefined && /^(agent|gate)-/.test(name) && isKtrace(pid)) sampled[name] = figuresOf(pid);
  }
  return sampled;
}

/** How often programs of ktrace are attached: clsact filters by the kernel's own list, tcx links and the drops' by what the agents hold. */
export async function attached(lab: Lab): Promise<number> {
  const listed = await Promise.all(lab.nodes.map(({ name }) => lab.exec(name, ['bpftool', 'net', 'show'])));
  const filters = listed
    .join('\n')
    .split('\n')
    .filter((line) => line.includes('ktrace_') && !line.includes('tcx')).length;
  return Object.values(sample(lab)).reduce((sum, { links }) => sum + links, filters);
}

function figuresOf(pid: number): Figures {
  const files = readdirSync(`/proc/${pid}/fd`);
  const kinds = files.map((fd) => linkOf(`/proc/${pid}/fd/${fd}`));
  const count = (kind: string) => kinds.filter((one) => one === `anon_inode:${kind}`).length;
  const resident = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '0';
  return {
    residentBytes: Number(resident) * 1024,
    files: files.length,
    maps: count('bpf-map'),
    programs: count('bpf-prog'),
    links: count('bpf_link') + count('bpf-link'),
  };
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}

function partOf(pid: number): string | undefined {
  return /(?:^|\0)KTRACE_LAB_PART=([^\0]*)/.exec(readFileSync(`/proc/${pid}/environ`, 'utf8'))?.[1];
}

/** Not the tools that a process of the lab starts in between. */
function isKtrace(pid: number): boolean {
  return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('ktrace');
}
