import type { EndpointFact, SliceFact } from './facts.ts';
import type { RemotePod, RemotePods } from './remote-pods.ts';

/** An endpoint as whoever asks is told of it. */
export type Endpoint = Omit<EndpointFact, 'isReady'>;

/** An endpoint as it is kept, 150,000 of which are possible: those that are pods of other nodes by their rows. */
export type EndpointRecord = RemotePod | Endpoint;

/** An EndpointSlice as it is now. Another object whenever something of it has changed; after that its endpoints are not to be asked for any more. */
export class SliceRecord {
  /** `namespace/name`. */
  readonly service: string;
  readonly ports: SliceFact['ports'];
  readonly records: readonly EndpointRecord[];
  /** Places of those that are not ready. */
  readonly unready: readonly number[];
  readonly #pods: RemotePods;

  constructor(fact: SliceFact, service: string, records: readonly EndpointRecord[], pods: RemotePods) {
    this.service = service;
    this.ports = fact.ports;
    this.records = records;
    this.unready = unreadyOf(fact);
    this.#pods = pods;
  }

  get size(): number {
    return this.records.length;
  }

  /** In their places. */
  *endpoints(): Generator<Endpoint> {
    for (const one of this.records) {
      if (typeof one !== 'number') yield one;
      else yield { ip: this.#pods.ip(one), node: this.#pods.node(one), pod: this.#pods.pod(one) };
    }
  }

  *ips(): Generator<string> {
    for (const one of this.records) yield typeof one === 'number' ? this.#pods.ip(one) : one.ip;
  }

  /** Whether an endpoint of it is on this node, or on none. */
  isNear(node: string): boolean {
    return this.records.some((one) => {
      const at = typeof one === 'number' ? this.#pods.node(one) : one.node;
      return at === undefined || at === node;
    });
  }

  /** Whether these are its endpoints, each a row and in its place: of others nothing is said. */
  hasRecords(records: readonly EndpointRecord[]): boolean {
    return (
      records.length === this.records.length &&
      records.every((one, place) => typeof one === 'number' && one === this.records[place])
    );
  }

  /** The endpoints of each address as text: a slice may have an address more than once. */
  holders(): Map<string, string> {
    const holders = new Map<string, string>();
    for (const { ip, node, pod } of this.endpoints()) holders.set(ip, `${holders.get(ip) ?? ''} ${node} ${pod?.uid}`);
    return holders;
  }

  /** Whether the API server says the same again. */
  isSame(fact: SliceFact): boolean {
    return (
      this.records.length === fact.endpoints.length &&
      JSON.stringify(this.ports) === JSON.stringify(fact.ports) &&
      fact.endpoints.every((one, place) => this.#isSame(this.records[place] as EndpointRecord, one)) &&
      this.unready.join() === unreadyOf(fact).join()
    );
  }

  #isSame(known: EndpointRecord, { ip, node, pod }: EndpointFact): boolean {
    if (typeof known !== 'number') return known.ip === ip && known.node === node && known.pod?.uid === pod?.uid;
    return pod !== undefined && this.#pods.node(known) === node && this.#pods.isAt(known, ip) && this.#pods.isPod(known, pod);
  }
}

const NONE: readonly number[] = [];

function unreadyOf({ endpoints }: SliceFact): readonly number[] {
  const places = endpoints.flatMap(({ isReady }, place) => (isReady ? [] : [place]));
  return places.length === 0 ? NONE : places;
}
