import type { KtraceEvent, LostEvent, PacketEvent } from '../../src/event/types.ts';

/** How many interfaces a ping and its reply cross. */
export interface Way {
  request: number;
  reply: number;
}

/** The echoes that a follow tells of and what it says it lost, without keeping anything else. */
export class Echoes {
  /** The most hops that were told of an echo, by its id, its number and its direction. */
  readonly #hops = new Map<number, Map<string, number>>();
  readonly #pod: string;
  #lost: Record<string, number> = {};

  /** @param pod The name of the pod whose echoes they are. */
  constructor(pod: string) {
    this.#pod = pod;
  }

  /** Sightings and records told as lost since this was asked for, by stage; without what another pod's rate cut, which is none of the pod's. */
  takeLost(): Record<string, number> {
    const lost = this.#lost;
    this.#lost = {};
    return lost;
  }

  add(event: KtraceEvent): void {
    if (event.kind === 'lost') this.#addLost(event);
    else if (event.kind === 'packet') this.#addPacket(event);
  }

  /** The longest way that was told of the echoes of an id. */
  way(id: number): Way {
    const way = { request: 0, reply: 0 };
    for (const [key, hops] of this.#hops.get(id) ?? []) {
      const dir = key.endsWith('reply') ? 'reply' : 'request';
      way[dir] = Math.max(way[dir], hops);
    }
    return way;
  }

  /** How many of the echoes 1 to `sent` of an id were told with the whole way, and their replies too where they were `answered`. */
  whole(id: number, way: Way, sent: number, answered: ReadonlySet<number>): number {
    const told = this.#hops.get(id) ?? new Map<string, number>();
    const isWhole = (seq: number, dir: keyof Way) => (told.get(`${seq} ${dir}`) ?? 0) >= way[dir];
    let whole = 0;
    for (let seq = 1; seq <= sent; seq++) {
      // The network itself may drop one on its way: then there are fewer hops to tell of.
      if (answered.has(seq) ? isWhole(seq, 'request') && isWhole(seq, 'reply') : told.has(`${seq} request`)) whole += 1;
    }
    return whole;
  }

  /** Forgets the echoes of an id. */
  forget(id: number): void {
    this.#hops.delete(id);
  }

  #addLost({ stage, pod, count }: LostEvent): void {
    if (stage === 'pod-rate' && pod?.name !== this.#pod) return;
    this.#lost[stage] = (this.#lost[stage] ?? 0) + count;
  }

  #addPacket({ icmp, hops }: PacketEvent): void {
    const dir = icmp?.name === 'echo-request' ? 'request' : icmp?.name === 'echo-reply' ? 'reply' : undefined;
    if (dir === undefined || icmp?.id === undefined || icmp.seq === undefined) return;
    const told = this.#hops.get(icmp.id) ?? new Map<string, number>();
    this.#hops.set(icmp.id, told);
    const key = `${icmp.seq} ${dir}`;
    told.set(key, Math.max(told.get(key) ?? 0, hops.length));
  }
}

/** What `ping` has said: how many it sent (it says so at its end), and which were answered. */
export function pingsOf(output: string): { sent: number; answered: Set<number> } {
  const sent = Number(/^(\d+) packets transmitted/m.exec(output)?.[1] ?? 0);
  return { sent, answered: new Set([...output.matchAll(/ icmp_seq=(\d+) ttl=/g)].map(([, seq]) => Number(seq))) };
}
