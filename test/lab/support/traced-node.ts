import type { ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { HookState } from '../../../src/agent/feed.ts';
import type { KernelStats } from '../../../src/agent/tracer.ts';
import type { KtraceEvent, PacketEvent } from '../../../src/event/types.ts';
import type { AssemblerCounts } from '../../../src/flow/assemble.ts';
import type { ServiceAddress } from '../../../src/kube/types.ts';
import { until } from '../lab-fixture.ts';
import type { Net } from './net.ts';

export interface NodeOptions {
  node: string;
  /** What the follower follows. */
  addresses: string[];
  serviceAddresses?: ServiceAddress[];
  units?: 'flows' | 'packets';
  ringBytes?: number;
  /** The follower's; nobody judges by it here but the kernel. */
  filter?: string;
  /** Sightings a second of one pod; no bound unless given. */
  podRate?: number;
  attach?: 'auto' | 'tcx' | 'clsact';
  /** As on a kernel whose BTF lacks conntrack's types. */
  withoutConntrack?: boolean;
}

/** Node's arguments for the process: its source, or what that was made into beside this (test/vm/plain-script.ts). */
const NODE_PROCESS = import.meta.url.endsWith('.ts')
  ? ['--import', 'tsx', fileURLToPath(new URL('node-process.ts', import.meta.url))]
  : [fileURLToPath(new URL('node-process.mjs', import.meta.url))];

export type Ask = 'state' | 'follow' | 'unfollow' | 'close' | { filter: string };

export interface NodeState {
  stats: KernelStats;
  misses: number;
  hooks: HookState[];
  attached: number;
  /** What the kernel decides of the follower's filter. */
  kernelFilter?: string | undefined;
  /** By program name. */
  programIds: Record<string, number>;
  counts: AssemblerCounts;
  malformed: number;
  attachFailures: number;
  /** By interface index. */
  attachedAtMs: Record<number, number>;
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
    const node = new TracedNode(net.spawn(options.node, [process.execPath, ...NODE_PROCESS, JSON.stringify(options)]));
    await node.#answer();
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
    const packets = new Map<string, PacketEvent>();
    for (const event of this.events) if (event.kind === 'packet') packets.set(event.id, event);
    return [...packets.values()];
  }

  /** Waits for a packet that is told. */
  packet(what: string, is: (packet: PacketEvent) => boolean): Promise<PacketEvent> {
    return until(what, () => this.packets().find(is)).catch((error: Error) => {
      throw new Error(`${error.message}; told were\n${this.packets().map(line).join('\n')}`);
    });
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
