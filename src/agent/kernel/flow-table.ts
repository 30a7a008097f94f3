import { decodeTuple } from '../../event/decode.ts';
import { COUNTER, FLOW, FLOW_COUNT, FLOW_KEY, FLOW_PLACE, PLACE } from '../../event/layout.ts';
import { protocolName } from '../../event/names.ts';
import type { CountedFlow, FlowTable, InterfaceCount } from '../../flow/flows.ts';
import type { BpfObject } from '../../native/types.ts';

const MAP = 'flows';
const STRIDE = FLOW_KEY.size + FLOW.size;
/** Who counts by which counter. */
const COUNTERS = [
  { counter: COUNTER.podIn, interfaceKind: 'pod', places: [{ place: PLACE.podIn, direction: 'in' }] },
  { counter: COUNTER.podOut, interfaceKind: 'pod', places: [{ place: PLACE.podOut, direction: 'out' }] },
  {
    counter: COUNTER.uplink,
    interfaceKind: 'uplink',
    places: [
      { place: PLACE.uplinkIn, direction: 'in' },
      { place: PLACE.uplinkOut, direction: 'out' },
    ],
  },
] as const;

/** An entry as it was read last. */
interface Entry extends CountedFlow {
  key: string;
  openedAt: number;
  /** The low halves of its time and its counters: what tells that it has changed. Bytes as well: a packet may have been counted in part when it was read. */
  lastLow: number;
  countsLow: number;
  reading: number;
}

/** The kernel's flow table as user space knows it. An entry is decoded when it is new, and its counters when they have changed. */
export class KernelFlows implements FlowTable {
  readonly #object: () => BpfObject;
  readonly #entries = new Map<string, Entry>();
  #shares = new Map<number, number>();
  #reading = 0;

  constructor(object: () => BpfObject) {
    this.#object = object;
  }

  /** Entries by the interface that opened them, as the table was read last; without what was taken since. */
  get shares(): ReadonlyMap<number, number> {
    return this.#shares;
  }

  changed(): CountedFlow[] {
    const bytes = this.#object().mapEntries(MAP);
    const view = viewOf(bytes);
    const changed: CountedFlow[] = [];
    this.#shares = new Map();
    this.#reading += 1;
    let count = 0;
    for (let at = 0; at + STRIDE <= bytes.length; at += STRIDE) {
      const key = bytes.toString('latin1', at, at + FLOW_KEY.size);
      const known = this.#entries.get(key);
      const entry = known ?? newEntry(key, view, at);
      if (known === undefined) this.#entries.set(key, entry);
      if (bringUpToDate(entry, view, at + FLOW_KEY.size)) changed.push(entry);
      entry.reading = this.#reading;
      count += 1;
      this.#shares.set(entry.openedAt, (this.#shares.get(entry.openedAt) ?? 0) + 1);
    }
    if (count < this.#entries.size) this.#forgetUnread();
    return changed;
  }

  take(entries: readonly CountedFlow[]): void {
    const mine = (entries as Entry[]).filter((entry) => this.#entries.get(entry.key) === entry);
    if (mine.length === 0) return;
    const bytes = this.#object().mapTake(MAP, Buffer.from(mine.map(({ key }) => key).join(''), 'latin1'));
    const view = viewOf(bytes);
    for (let at = 0; at + STRIDE <= bytes.length; at += STRIDE) {
      const entry = this.#entries.get(bytes.toString('latin1', at, at + FLOW_KEY.size));
      if (entry === undefined) continue;
      bringUpToDate(entry, view, at + FLOW_KEY.size);
      this.#shares.set(entry.openedAt, Math.max(0, (this.#shares.get(entry.openedAt) ?? 0) - 1));
    }
    for (const { key } of mine) this.#entries.delete(key);
  }

  /** The table is another one. */
  clear(): void {
    this.#entries.clear();
    this.#shares.clear();
  }

  #forgetUnread(): void {
    for (const [key, { reading }] of this.#entries) if (reading !== this.#reading) this.#entries.delete(key);
  }
}

function viewOf(bytes: Buffer): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function newEntry(key: string, view: DataView, at: number): Entry {
  return {
    proto: protocolName(view.getUint8(at + FLOW_KEY.proto)),
    tuple: decodeTuple(view, at + FLOW_KEY.tuple),
    counts: [],
    lastNs: 0n,
    key,
    openedAt: view.getUint32(at + FLOW_KEY.size + FLOW.openedAt, true),
    lastLow: -1,
    countsLow: -1,
    reading: 0,
  };
}

/** Whether there was anything to bring. */
function bringUpToDate(entry: Entry, view: DataView, at: number): boolean {
  const lastLow = view.getUint32(at + FLOW.lastNs, true);
  let countsLow = 0;
  for (const { counter } of COUNTERS) {
    const count = countAt(at, counter);
    countsLow += view.getUint32(count + FLOW_COUNT.packets, true) + view.getUint32(count + FLOW_COUNT.bytes, true);
  }
  if (lastLow === entry.lastLow && countsLow === entry.countsLow) return false;
  entry.lastLow = lastLow;
  entry.countsLow = countsLow;
  entry.lastNs = view.getBigUint64(at + FLOW.lastNs, true);
  entry.counts = countsOf(view, at);
  return true;
}

function countsOf(view: DataView, at: number): InterfaceCount[] {
  const counts: InterfaceCount[] = [];
  for (const { counter, places, interfaceKind } of COUNTERS) {
    const packets = Number(view.getBigUint64(countAt(at, counter) + FLOW_COUNT.packets, true));
    if (packets === 0) continue;
    const bytes = Number(view.getBigUint64(countAt(at, counter) + FLOW_COUNT.bytes, true));
    const taken = places.map(({ place, direction }) => ({ ifindex: ifindexAt(view, at, place), direction }));
    const by = taken.find(({ ifindex }) => ifindex !== 0);
    if (by !== undefined) counts.push({ ...by, interfaceKind, packets, bytes });
  }
  return counts;
}

function ifindexAt(view: DataView, at: number, place: number): number {
  return view.getUint32(at + FLOW.places + place * FLOW_PLACE.size + FLOW_PLACE.ifindex, true);
}

function countAt(at: number, counter: number): number {
  return at + FLOW.counts + counter * FLOW_COUNT.size;
}
