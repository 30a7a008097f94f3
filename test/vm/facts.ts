import type { KernelStats } from '../../src/agent/kernel/tracer.ts';
import type { Endpoint, PacketEvent } from '../../src/event/types.ts';

/** What one node's kernel side said of itself, see inside/node.ts. */
export interface NodeReport {
  load: {
    programs: { program: string; instructions: number }[];
    backend: string;
    notices: unknown[];
    dropReasons: number;
    /** Places whose names were asked for, and those of which another one was told. */
    symbols: { places: number; wrong: string[] };
  };
  ready: { hooks: { name: string; backend: string; state: string; reason?: string }[]; attached: number; failures: number };
  /** As they changed last, if they did. */
  hooks?: { name: string; backend: string; state: string }[];
  /** By the kernel's own statistics, where they were asked for (else zero). */
  runs: { program: string; runs: number; ns: number }[];
  counts: {
    stats: KernelStats;
    malformed: number;
    recursionMisses: number;
  };
  packets: PacketEvent[];
}

/** Reads the scenario's output: lines of `NODE JSON`. Anything else is talk. */
export function readReports(lines: readonly string[]): Map<string, NodeReport> {
  const reports = new Map<string, Partial<NodeReport> & { byId: Map<string, PacketEvent> }>();
  for (const line of lines) {
    const [, node, json] = /^(host\d) (\{.*\})$/.exec(line) ?? [];
    if (node === undefined || json === undefined) continue;
    const report = reports.get(node) ?? { byId: new Map() };
    reports.set(node, report);
    const told = JSON.parse(json) as Partial<NodeReport> | PacketEvent;
    if (!('kind' in told)) Object.assign(report, told);
    else if (told.kind === 'packet') report.byId.set(told.id, told);
  }
  return new Map([...reports].map(([node, { byId, ...rest }]) => [node, { ...rest, packets: [...byId.values()] } as NodeReport]));
}

/**
 * What a packet's record says that must be the same on every kernel, as one line; without times, ids and ports that differ from run to run.
 * Undefined for what depends on how fast the machine is: a connection after its handshake. Whether a segment comes late, twice, or to a socket that is gone,
 * and what TCP drops for it (as TCP_OLD_DATA, by PAWS), is another matter in each run.
 */
function factOf(packet: PacketEvent): string | undefined {
  const { tcp, icmp, nat = [], hops, drop } = packet;
  if (tcp !== undefined && !tcp.flags.includes('S')) return undefined;
  // Who asks whom for his link address, and when, is the neighbours' matter.
  if (packet.proto === 'icmp6' && icmp?.about === undefined && icmp?.seq === undefined) return undefined;
  const about = icmp?.about;
  return [
    packet.proto,
    tcp?.flags ?? icmp?.name ?? '',
    packet.dir,
    `${text(packet.src)} → ${text(packet.dst)}`,
    ...nat.map(({ kind, before, after }) => `${kind} ${text(before)} → ${text(after)}`),
    ...(about === undefined ? [] : [`about ${about.proto} ${text(about.src)} → ${text(about.dst)}`]),
    ...(about?.nat ?? []).map(({ kind, after }) => `${kind} → ${text(after)}`),
    ...(icmp?.mtu === undefined ? [] : [`mtu ${icmp.mtu}`]),
    ...(icmp?.by === undefined ? [] : [`by ${icmp.by.node}`]),
    hops
      .map(({ if: name, dir, tunnel }) => `${dir} ${name}${tunnel === undefined ? '' : ` (${tunnel.src} → ${tunnel.dst})`}`)
      .join(', '),
    // Whether the kernel itself answers a ping is seen only where its functions are.
    packet.verdict === 'answered' ? 'delivered' : packet.verdict,
    drop === undefined ? '' : `${drop.reason} at ${drop.at}`,
  ]
    .filter((part) => part !== '')
    .join('; ');
}

/** The facts of a node, each once, sorted. */
export function factsOf(report: NodeReport): string[] {
  return [...new Set(report.packets.map(factOf).filter((fact) => fact !== undefined))].sort();
}

/** A port that the client's kernel picked says nothing. */
function text({ ip, port }: Endpoint): string {
  if (port === undefined) return ip;
  return `${ip}:${port >= 32768 ? '*' : port}`;
}
