import type { NativeModule } from '../../../native/types.ts';

/** A part of the kernel that may be absent, and a function that every kernel with it has. While it is absent, its functions are never called. */
interface Part {
  name: string;
  marker: string;
}

const NF_CONNTRACK: Part = { name: 'nf_conntrack', marker: 'nf_conntrack_in' };
const NF_NAT: Part = { name: 'nf_nat', marker: 'nf_nat_setup_info' };
const IPV6: Part = { name: 'ipv6', marker: 'ipv6_rcv' };

/** One of the kernel's functions that is traced, and the arguments that its program needs (bpf/hook/probe.h). */
export interface Probe {
  /** As doctor names it; the programs are `fentry_NAME` and `kprobe_NAME` with underscores. */
  name: string;
  function: string;
  /** Names of its parameters, in the order of `cfg_at_NAME`. A list in a list: the parameter is named one of these. */
  parameters: readonly (string | readonly string[])[];
  /** The parts that have the function, where they are not in every kernel. */
  partOf?: readonly Part[];
  /** What is not reported without it. */
  tells: string;
}

export const PROBES: readonly Probe[] = [
  {
    name: 'nat',
    function: 'nf_nat_manip_pkt',
    parameters: ['skb', 'ct', ['mtype', 'maniptype'], 'dir'],
    partOf: [NF_NAT],
    tells: 'when NAT rewrites a packet: translations are read off the connection’s entry',
  },
  {
    name: 'nat-icmp',
    function: 'nf_nat_icmp_reply_translation',
    parameters: ['skb', 'ct', 'ctinfo'],
    partOf: [NF_NAT],
    tells: 'that NAT translates an ICMP error: it is read off the entry of the flow that it is about',
  },
  {
    name: 'nat-icmp6',
    function: 'nf_nat_icmpv6_reply_translation',
    parameters: ['skb', 'ct', 'ctinfo'],
    partOf: [NF_NAT, IPV6],
    tells: 'that NAT translates an ICMPv6 error: it is read off the entry of the flow that it is about',
  },
  {
    name: 'nat-confirm',
    function: '__nf_conntrack_confirm',
    parameters: ['skb'],
    partOf: [NF_CONNTRACK],
    tells: 'when a translated connection enters conntrack’s table',
  },
  {
    name: 'icmp-send',
    function: '__icmp_send',
    parameters: [['skb_in', 'skb'], 'type', 'code', 'info'],
    tells: 'at which interface an ICMP error was made: its origin is told from its source address',
  },
  {
    name: 'icmp6-send',
    function: 'icmp6_send',
    parameters: [['skb', 'skb_in'], 'type', 'code', 'info'],
    partOf: [IPV6],
    tells: 'at which interface an ICMPv6 error was made: its origin is told from its source address',
  },
  { name: 'icmp-receive', function: 'icmp_rcv', parameters: ['skb'], tells: 'that the kernel took an ICMP message in' },
  {
    name: 'icmp6-receive',
    function: 'icmpv6_rcv',
    parameters: ['skb'],
    partOf: [IPV6],
    tells: 'that the kernel took an ICMPv6 message in',
  },
  {
    name: 'icmp-echo',
    function: 'icmp_echo',
    parameters: ['skb'],
    tells: 'that the kernel answered a ping: it is told as delivered',
  },
  {
    name: 'icmp6-echo',
    function: 'icmpv6_echo_reply',
    parameters: ['skb'],
    partOf: [IPV6],
    tells: 'that the kernel answered an ICMPv6 ping: it is told as delivered',
  },
];

/** Where a probe's function and its arguments are in the running kernel. */
interface Place {
  positions: Uint8Array;
  module: string | undefined;
}

/** Why that is not known. `isExpected`: what the function does never happens here, so that nothing is missed. */
interface NoPlace {
  reason: string;
  isExpected: boolean;
}

export type Resolution = Place | NoPlace;

/** Functions by name with the modules they are in (`''`: the kernel itself), one entry for each time the name occurs. */
export type FunctionList = ReadonlyMap<string, readonly string[]>;

const MAX_POSITION = 4;

/** What {@link listFunctions} has to look for, for {@link resolveProbes} of these. */
export function symbolsOf(probes: readonly Probe[]): string[] {
  return [...new Set(probes.flatMap(({ function: name, partOf = [] }) => [name, ...partOf.map(({ marker }) => marker)]))];
}

/**
 * Resolves probes against the running kernel: the function must be there exactly once, and have the parameters that are asked for.
 * @param functions as {@link listFunctions} found them
 * @param isLoaded whether a module is loaded to its end; before that its types are not there, and programs on its functions are refused
 */
export function resolveProbes(
  probes: readonly Probe[],
  functions: FunctionList,
  { btf, isLoaded }: { btf: NativeModule['btf']; isLoaded(module: string): boolean },
): Map<Probe, Resolution> {
  const present = probes.filter((probe) => functions.get(probe.function)?.length === 1);
  const parameters = btf.functionParameters(present.map((probe) => probe.function));
  return new Map(probes.map((probe) => [probe, resolve(probe, functions, parameters[probe.function] ?? [], isLoaded)]));
}

function resolve(probe: Probe, functions: FunctionList, known: string[][], isLoaded: (module: string) => boolean): Resolution {
  const { function: name } = probe;
  const places = functions.get(name) ?? [];
  const [place] = places;
  if (place === undefined) return missing(probe, functions);
  const reason = (text: string): NoPlace => ({ reason: text, isExpected: false });
  if (places.length > 1) return reason(`${name} is ambiguous: the kernel has ${places.length} functions of this name`);
  const module = place === '' ? undefined : place;
  if (module !== undefined && !isLoaded(module))
    return { reason: `${name} is there, but its module is not loaded to its end (${module})`, isExpected: true };
  const own = known[0];
  if (own === undefined || known.length > 1) {
    const why =
      own === undefined ? 'has no type information (BTF)' : `is there ${known.length} times in the type information (BTF)`;
    return reason(`${name}${module === undefined ? '' : ` of module ${module}`} ${why}, so that its arguments are not known`);
  }
  const positions = probe.parameters.map((wanted) => own.findIndex((parameter) => [wanted].flat().includes(parameter)));
  const lacking = positions.findIndex((position) => position < 0 || position > MAX_POSITION);
  if (lacking >= 0)
    return reason(
      `${name} has no argument ${[probe.parameters[lacking] ?? ''].flat().join(' or ')} here, but (${own.join(', ')})`,
    );
  return { positions: Uint8Array.from(positions), module };
}

function missing({ function: name, partOf = [] }: Probe, functions: FunctionList): NoPlace {
  const absent = partOf.find(({ marker }) => !functions.has(marker));
  if (absent !== undefined)
    return { reason: `the kernel has no function ${name}: its module is not loaded (${absent.name})`, isExpected: true };
  // A compiler's clone has other arguments than the function it was made of.
  const clone = [...functions.keys()].find((key) => key.startsWith(`${name}.`));
  const reason =
    clone === undefined
      ? `the kernel has no function ${name}: it has another name here, or was left out when the kernel was built`
      : `the kernel has only ${clone}, whose arguments may be others than those of ${name}`;
  return { reason, isExpected: false };
}

/** The lines of /proc/kallsyms about these functions and their compiler-made clones. */
export function listFunctions(kallsyms: string, names: readonly string[]): FunctionList {
  const found = new Map<string, string[]>();
  const pattern = new RegExp(`^[0-9a-f]+ [tT] ((?:${names.join('|')})(?:\\.[\\w.]+)?)(?:\\s+\\[(\\w+)\\])?$`, 'gm');
  for (const [, name = '', module = ''] of kallsyms.matchAll(pattern)) found.set(name, [...(found.get(name) ?? []), module]);
  return found;
}
