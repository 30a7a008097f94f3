import { readFileSync } from 'node:fs';
import { arch, release } from 'node:os';
import type { HookReport, Lack, NodeReport } from '../../event/node-report.ts';
import { KtraceError, messageOf } from '../../util/errors.ts';
import { type Interfaces, type InterfacesLacking, NO_INTERFACES } from '../kernel/interfaces.ts';
import { PROBES } from '../kernel/probes/probe-plan.ts';
import type { Tracer } from '../kernel/tracer.ts';
import { NO_PACKETS } from './notices/tracing-notices.ts';

/** Bits of the kernel's capability sets (include/uapi/linux/capability.h), and what each is for. */
const CAPABILITIES = [
  { name: 'BPF', bit: 39, for: 'loading programs' },
  { name: 'PERFMON', bit: 38, for: 'programs that read the kernel’s memory; kprobes' },
  { name: 'NET_ADMIN', bit: 12, for: 'programs at interfaces' },
  { name: 'SYS_ADMIN', bit: 21, for: 'fentry on functions of modules; kprobe takes its place' },
] as const;

const REQUIRED: readonly string[] = ['BPF', 'PERFMON', 'NET_ADMIN'];

/** A node as its agent sees it. */
export function diagnose(
  node: string,
  version: string,
  { tracer, interfaces }: { tracer: Tracer; interfaces: Interfaces },
): NodeReport {
  const hooks = tracer.hooks();
  const list = interfaces.list();
  // While nobody follows nothing is attached, and nothing can have failed.
  const lacking = interfaces.lacking();
  const reason = list.length === 0 ? NO_INTERFACES : lacking?.isEverything ? `${NO_PACKETS}: ${lacking.text}` : undefined;
  return {
    ...machine(node, version, true),
    hooks,
    interfaces: list,
    lacks: [...(lacking === undefined || reason !== undefined ? [] : [packetsAt(lacking)]), ...lacksOf(hooks)],
    works: reason === undefined,
    ...(reason === undefined ? {} : { reason }),
  };
}

function packetsAt({ text, failed }: InterfacesLacking): Lack {
  const names = failed.map(({ name }) => name).sort();
  return { what: `packets at ${names.join(', ')}`, why: text, remedy: INTERFACES_REMEDY };
}

/** A node where the programs could not even be loaded, for what `error` says. */
export function brokenNode(node: string, version: string, hasBtf: boolean, error: unknown): NodeReport {
  const reason = error instanceof KtraceError ? [error.message, error.hint].filter(Boolean).join('\n') : messageOf(error);
  const machineFacts = machine(node, version, hasBtf);
  // Without PERFMON the verifier applies other rules, and what it says of a program is not what is wrong.
  const missing = machineFacts.capabilities.filter(({ name, has }) => !has && REQUIRED.includes(name)).map(({ name }) => name);
  const needed =
    missing.length === 0 ? '' : `Programs need the capabilities ${REQUIRED.join(', ')}, and ${missing.join(', ')} is not there\n`;
  return { ...machineFacts, hooks: [], interfaces: [], lacks: [], works: false, reason: `${needed}${reason}` };
}

function machine(
  node: string,
  version: string,
  btf: boolean,
): Pick<NodeReport, 'v' | 'node' | 'version' | 'kernel' | 'capabilities'> {
  return { v: 1, node, version, kernel: { release: release(), arch: arch(), btf }, capabilities: capabilities() };
}

/** @param status text of /proc/self/status */
export function capabilities(status = readFileSync('/proc/self/status', 'latin1')): NodeReport['capabilities'] {
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
  return CAPABILITIES.map(({ name, bit, for: purpose }) => ({
    name,
    has: ((effective >> BigInt(bit)) & 1n) === 1n,
    for: purpose,
  }));
}

const INTERFACES_REMEDY =
  'another program may hold what the agent needs there, or the kernel has no memory for it (docs/errors.md, KTRACE_N_INTERFACES_INCOMPLETE); the agent goes on trying while somebody follows';
const DROPS_REMEDY = 'Linux 5.17 or later, with BTF';
const CONNTRACK_REMEDY =
  'load nf_conntrack, on a kernel whose modules have BTF: the agent takes it up, at the latest when the next follow begins';

function lacksOf(hooks: readonly HookReport[]): Lack[] {
  return hooks.flatMap(({ name, state, reason = '' }): Lack[] => {
    if (state !== 'unavailable') return [];
    if (name === 'drops') return [{ what: 'packets that the kernel drops', why: reason, remedy: DROPS_REMEDY }];
    if (name === 'conntrack') return [{ what: 'translations', why: reason, remedy: CONNTRACK_REMEDY }];
    const probe = PROBES.find((one) => one.name === name);
    return probe === undefined ? [] : [{ what: probe.tells, why: reason, remedy: probeRemedy(reason) }];
  });
}

function probeRemedy(reason: string): string {
  if (/no kprobes/.test(reason)) return 'a kernel with CONFIG_KPROBES and CONFIG_KPROBE_EVENTS (every distribution’s has them)';
  if (/perf_event_open/.test(reason))
    return 'let the agent have CAP_PERFMON and the system call perf_event_open (seccomp); kernel.perf_event_paranoid=2, or CAP_SYS_ADMIN';
  if (/module is not loaded/.test(reason))
    return 'nothing to do where it is not needed: when the module is loaded, the agent takes it up';
  if (/switched off/.test(reason)) return 'start the agent with --probes auto';
  if (/BTF/.test(reason)) return 'a kernel whose modules have BTF (CONFIG_DEBUG_INFO_BTF_MODULES)';
  return 'please report the reason with `uname -r`';
}
