import { exitTuple, type Part, tunnelPeer } from './packet.ts';

/** After so many waits in vain, a pair of nodes is not waited for until it joins again. */
const MAX_MISSES = 8;

/**
 * Knows whether another followed node should have a part of a packet too: by the tunnel's other end (whose address is learned from what
 * that node itself tells), or by the node of the packet's ends.
 */
export class Expectations {
  readonly #isFollowed: (node: string) => boolean;
  readonly #nodeByAddress = new Map<string, string>();
  readonly #misses = new Map<string, number>();

  constructor(isFollowed: (node: string) => boolean) {
    this.#isFollowed = isFollowed;
  }

  /** Learns the node's own tunnel address. */
  learn(part: Part): void {
    for (const hop of part.event.hops) {
      if (hop.tunnel === undefined) continue;
      const own = hop.dir === 'out' ? hop.tunnel.src : hop.tunnel.dst;
      if (this.#nodeByAddress.size < 10_000) this.#nodeByAddress.set(own, part.node);
    }
  }

  /** Is a part missing that is worth waiting for? */
  isIncomplete(parts: Part[]): boolean {
    return this.#missing(parts).some((pair) => (this.#misses.get(pair) ?? 0) < MAX_MISSES);
  }

  /** The wait is over: learns what came of it. */
  settled(parts: Part[]): void {
    for (const pair of this.#missing(parts)) this.#misses.set(pair, (this.#misses.get(pair) ?? 0) + 1);
    for (const [index, part] of parts.entries()) {
      const next = parts[index + 1];
      if (next !== undefined) this.#misses.delete(`${part.node}>${next.node}`);
    }
  }

  #missing(parts: Part[]): string[] {
    const first = parts[0];
    const last = parts.at(-1);
    const pairs: string[] = [];
    const from = first?.hasEntry === true ? this.#cameFrom(first) : undefined;
    if (first !== undefined && from !== undefined && from !== first.node) pairs.push(`${from}>${first.node}`);
    const to = last?.hasExit === true ? this.#wentTo(last) : undefined;
    if (last !== undefined && to !== undefined && to !== last.node) pairs.push(`${last.node}>${to}`);
    return pairs;
  }

  #cameFrom(part: Part): string | undefined {
    const hop = part.event.hops.find(({ tunnel }) => tunnel !== undefined);
    const peer = hop?.dir === 'in' ? tunnelPeer(hop) : undefined;
    const { src } = part.event;
    return (
      this.#followed(peer === undefined ? undefined : this.#nodeByAddress.get(peer)) ?? this.#followed(src.pod?.node ?? src.node)
    );
  }

  #wentTo(part: Part): string | undefined {
    const hop = part.event.hops.findLast(({ tunnel }) => tunnel !== undefined);
    const peer = hop?.dir === 'out' ? tunnelPeer(hop) : undefined;
    const { dst } = exitTuple(part.event);
    return (
      this.#followed(peer === undefined ? undefined : this.#nodeByAddress.get(peer)) ?? this.#followed(dst.pod?.node ?? dst.node)
    );
  }

  #followed(node: string | undefined): string | undefined {
    return node !== undefined && this.#isFollowed(node) ? node : undefined;
  }
}
