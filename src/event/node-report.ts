/** What `ktrace doctor` tells of a node: one object a line with `-o json`, and the answer of an agent that is asked for it. */

/** One of the kernel's hooks, as an agent has it. */
export interface HookReport {
  name: string;
  backend: 'tcx' | 'clsact' | 'tracepoint' | 'kprobe' | 'fentry' | 'none';
  /** `idle`: loaded, and attached when somebody follows. */
  state: 'on' | 'idle' | 'unavailable';
  /** Why this backend, or why none. The kernel's own last lines where it refused a program. */
  reason?: string;
}

/** What cannot be told on a node. */
export interface Lack {
  what: string;
  why: string;
  /** What would change that. */
  remedy: string;
}

export interface NodeReport {
  v: 1;
  node: string;
  version: string;
  kernel: { release: string; arch: string; btf: boolean };
  /** Those that ktrace has a use for, without `CAP_`. */
  capabilities: { name: string; has: boolean; for: string }[];
  hooks: HookReport[];
  /** The pod network's, with what they are. */
  interfaces: { name: string; kind: string; attached: boolean }[];
  lacks: Lack[];
  /** Packets at interfaces can be told: the main job. While nobody follows, nothing is known against it but that there is no interface. */
  works: boolean;
  /** Why it does not work. */
  reason?: string;
}
