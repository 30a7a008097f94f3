import type { Endpoint, FlowEvent, PacketEvent } from '../event/types.ts';

export interface Address {
  ip: string;
  port: number;
}

/** How long what stands behind the collector's address is taken to be the same. */
const KEEP_MS = 5000;

/**
 * Tells the traffic of exporting itself, of all agents: TCP between a node's own address and the collector. To export it would make more of
 * it. The collector is what its name stands for and, where that is a Service, the endpoints.
 */
export class OwnTraffic {
  readonly #given = new Map<string, Address>();
  readonly #behind: (address: Address) => Address[];
  #known: ReadonlySet<string> = new Set();
  #knownUntilMs = 0;

  /** @param behind endpoints of the Service that answers under an address; none where it is no Service's */
  constructor(behind: (address: Address) => Address[]) {
    this.#behind = behind;
  }

  /** An address of the collector. */
  add(address: Address): void {
    this.#given.set(keyOf(address), address);
    this.#knownUntilMs = 0;
  }

  /** @param nowMs monotonic */
  isOwn(event: PacketEvent | FlowEvent, nowMs: number): boolean {
    if (event.proto !== 'tcp') return false;
    if (nowMs >= this.#knownUntilMs) this.#find(nowMs);
    const { src, dst, nat = [] } = event;
    const ends = [src, dst, ...nat.flatMap(({ before, after }) => [before, after])];
    const others = ends.filter((end) => !this.#isCollector(end));
    // A pod that speaks to the collector may be masqueraded as its node; it is a pod's traffic all the same.
    return others.length < ends.length && others.some(({ node }) => node !== undefined) && !others.some(({ pod }) => pod);
  }

  #isCollector({ ip, port }: Endpoint): boolean {
    return port !== undefined && this.#known.has(keyOf({ ip, port }));
  }

  #find(nowMs: number): void {
    const given = [...this.#given.values()];
    this.#known = new Set([...given, ...given.flatMap((address) => this.#behind(address))].map(keyOf));
    this.#knownUntilMs = nowMs + KEEP_MS;
  }
}

function keyOf({ ip, port }: Address): string {
  return `${ip} ${port}`;
}
