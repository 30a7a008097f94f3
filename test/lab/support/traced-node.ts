import type { ChildProcess } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { KernelStats } from '../../../src/agent/kernel/tracer.ts';
import type { HookReport, NodeReport } from '../../../src/event/node-report.ts';
import type { KtraceEvent, PacketEvent } from '../../../src/event/types.ts';
import type { AssemblerCounts } from '../../../src/flow/assemble.ts';
import type { ServiceAddress } from '../../../src/kube/index/types.ts';
import { keepOnFailure } from '../../support/evidence.ts';
import { folded, toldPacket } from '../../support/told.ts';
import type { Net } from './net.ts';

export interface NodeOptions {
  node: string;
  /** What the follower follows. */
  addresses: string[];
  serviceAddresses?: ServiceAddress[];
  units?: 'flows' | 'packets';
  ringBytes?: number;
  /** Of the kernel's table of flows. */
  flowEntries?: number;
  /** The follower's; nobody judges by it here but the kernel. */
  filter?: string;
  /** Of the kernel side's spans of time in which ports are seen: their length is two to the power of this, ns. */
  portSpanShift?: number;
  /** Sightings a second of one pod; no bound unless given. */
  podRate?: number;
  attach?: 'auto' | 'tcx' | 'clsact';
  /** `none`: the kernel's own functions are not looked at, so that what is counted is the same on a kernel that gives them. */
  probes?: 'auto' | 'none';
  /** As where the kernel hides its functions' addresses. */
  hidesSymbols?: boolean;
  /** Programs that nobody follows by are unloaded after this time. */
  unloadAfterMs?: number;
  /** As on a kernel whose BTF lacks conntrack's types; `at-first`: until it is asked to load `conntrack`. */
  withoutConntrack?: boolean | 'at-first';
}

/** Node's arguments for the process: its source, or what that was made into beside this (test/vm/machine/plain-script.ts). */
const NODE_PROCESS = import.meta.url.endsWith('.ts')
  ? ['--import', 'tsx', fileURLToPath(new URL('node-process.ts', import.meta.url))]
  : [fileURLToPath(new URL('node-process.mjs', import.meta.url))];

export type Ask = 'state' | 'follow' | 'unfollow' | 'close' | 'conntrack' | 'doctor' | { filter: string };

export interface NodeState {
  stats: KernelStats;
  misses: number;
  hooks: HookReport[];
  attached: number;
  /** What the kernel decides of the follower's filter. */
  kernelFilter?: string | undefined;
  /** Programs, maps, links and types that the process has from the kernel, by its open files. */
  bpfFiles: number;
  /** By program name; none while they are not loaded. */
  programIds: Record<string, number>;
  counts: AssemblerCounts;
  malformed: number;
  /** In the kernel's table. */
  flowEntries: number;
  attachFailures: number;
  /** By interface index. */
  attachedAtMs: Record<number, number>;
  /** Where doctor was asked. */
  report?: NodeReport;
  /** What was asked for took this long inside. */
  tookMs: number;
}

/** A node's pipeline in a process of its own, in its namespace, and what it told. */
export class TracedNode {
  readonly events: KtraceEvent[] = [];
  readonly child: ChildProcess;
  #answers: ((state: NodeState) => void)[] = [];

  private constructor(child: ChildProcess) {
    this.child = child;
    child.on('message', (message: { event?: KtraceEvent; state?: NodeState }) => {
      if (message.event !== undefined) this.events.push(message.event);
      if (message.state !== undefined) this.#answers.shift()?.(message.state);
    });
  }

  /** Starts it in the namespace of its name, loaded, following nobody. */
  static async start(net: Net, options: NodeOptions): Promise<TracedNode> {
    const node: TracedNode = new TracedNode(
      net.spawn(options.node, [process.execPath, ...NODE_PROCESS, JSON.stringify(options)]),
    );
    await node.#answer();
    keepOnFailure(options.node, async (folder) => {
      writeFileSync(join(folder, 'told.jsonl'), node.events.map((event) => `${JSON.stringify(event)}\n`).join(''));
      if (node.child.connected) writeFileSync(join(folder, 'state.json'), JSON.stringify(await node.ask('state'), undefined, 2));
    });
    return node;
  }

  static async following(net: Net, options: NodeOptions): Promise<TracedNode> {
    const node = await TracedNode.start(net, options);
    await node.ask('follow');
    return node;
  }

  ask(ask: Ask): Promise<NodeState> {
    const answer = this.#answer();
    this.child.send(ask);
    return answer;
  }

  /** Packets as they are known last: an amended record replaces what it amends. */
  packets(): PacketEvent[] {
    return folded(this.#tellings());
  }

  /** The first packet that is so, once the assertions hold for it: a packet may be told in parts. */
  async packet(
    what: string,
    isIt: (packet: PacketEvent) => boolean,
    check: (packet: PacketEvent) => void = () => undefined,
  ): Promise<PacketEvent> {
    try {
      return await toldPacket(what, () => this.#tellings(), isIt, { check });
    } catch (error) {
      if (error instanceof Error) error.message += `\ntold were\n${this.packets().map(line).join('\n')}`;
      throw error;
    }
  }

  /** Its end as it should be. */
  async close(): Promise<NodeState> {
    const ended = new Promise((resolve) => this.child.once('exit', resolve));
    const state = await this.ask('close');
    await ended;
    return state;
  }

  /** Its end as it should not be. */
  async kill(): Promise<void> {
    const ended = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.kill('SIGKILL');
    await ended;
  }

  #tellings(): PacketEvent[] {
    return this.events.filter((event) => event.kind === 'packet');
  }

  #answer(): Promise<NodeState> {
    return new Promise((resolve, reject) => {
      const failed = () => reject(new Error('the node’s process has ended'));
      // Not at its exit: what it said last may come after that, and never after the channel's end.
      this.child.once('disconnect', failed);
      this.#answers.push((state) => {
        this.child.off('disconnect', failed);
        resolve(state);
      });
    });
  }
}

/** A packet's hops, e.g. `veth-a in, eth0 out`. */
export const way = ({ hops }: PacketEvent): string => hops.map((hop) => `${hop.if} ${hop.dir}`).join(', ');

function line(packet: PacketEvent): string {
  const { proto, src, dst, dir, verdict, tcp, icmp, nat, drop } = packet;
  return JSON.stringify({ proto, src, dst, dir, verdict, tcp: tcp?.flags, icmp: icmp?.name, nat, drop, way: way(packet) });
}
