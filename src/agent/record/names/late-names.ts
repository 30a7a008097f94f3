import { endsOf } from '../../../event/ends.ts';
import type { Endpoint, FlowEvent, PacketEvent, PodRef } from '../../../event/types.ts';

export interface LateNamesOptions {
  /** Whether a pod of this node has the address, as the kernel says. */
  isPodAddress(ip: string): boolean;
  /** Fills in, in place, whom the record's ends belonged to. */
  name(event: PacketEvent | FlowEvent): void;
  /** Takes a record that has waited. */
  write(event: PacketEvent | FlowEvent): void;
  nowMs(): number;
}

interface Waiting {
  event: PacketEvent | FlowEvent;
  /** Of pods of this node, without a name. */
  ips: readonly string[];
  untilMs: number;
}

/** The API server learns a pod's address when the kubelet has looked at the pod's containers: each second. */
const WAIT_MS = 2500;
const MOST_WAITING = 2048;
/** An address that got no name in time is taken for no pod's: its next records do not wait. */
const UNKNOWN_MS = 60_000;
const MOST_UNKNOWN = 1024;

/**
 * What a pod does before the API server reports its address is recorded with the pod's name: such records wait for it. Of a pod that
 * ends within its first second nothing would be found otherwise.
 */
export class LateNames {
  /** `named` and `unnamed`: written with and without it, `full`: written without it at once, as too many waited. */
  readonly counts = { named: 0, unnamed: 0, full: 0 };
  readonly #options: LateNamesOptions;
  readonly #waiting: Waiting[] = [];
  readonly #unknown = new Map<string, number>();

  constructor(options: LateNamesOptions) {
    this.#options = options;
  }

  get isWaiting(): boolean {
    return this.#waiting.length > 0;
  }

  /** Takes a record that has to wait; false: it has not, or too many wait. */
  take(event: PacketEvent | FlowEvent): boolean {
    const ips = endsOf(event)
      .filter((end) => isNameless(end) && !this.#unknown.has(end.ip) && this.#options.isPodAddress(end.ip))
      .map(({ ip }) => ip);
    if (ips.length === 0) return false;
    if (this.#waiting.length >= MOST_WAITING) {
      this.counts.full += 1;
      return false;
    }
    // Other followers have the same record, as it is.
    this.#waiting.push({ event: structuredClone(event), ips, untilMs: this.#options.nowMs() + WAIT_MS });
    return true;
  }

  /** Names have changed, time has passed, or this is the end (`isLast`): writes what has a name now, and what has waited for long enough. */
  release(isLast = false): void {
    const nowMs = this.#options.nowMs();
    for (const one of this.#waiting.splice(0)) {
      const { event, ips, untilMs } = one;
      this.#name(event);
      const nameless = endsOf(event).filter((end) => ips.includes(end.ip) && isNameless(end));
      if (nameless.length > 0 && nowMs < untilMs && !isLast) {
        this.#waiting.push(one);
        continue;
      }
      this.counts[nameless.length === 0 ? 'named' : 'unnamed'] += 1;
      for (const { ip } of nameless) this.#giveUp(ip, nowMs);
      this.#options.write(event);
    }
    for (const [ip, untilMs] of this.#unknown) {
      if (untilMs > nowMs && this.#unknown.size <= MOST_UNKNOWN) break;
      this.#unknown.delete(ip);
    }
  }

  #giveUp(ip: string, nowMs: number): void {
    this.#unknown.delete(ip);
    this.#unknown.set(ip, nowMs + UNKNOWN_MS);
  }

  /** Pods that an interface has decided stay, whatever the address says. */
  #name(event: PacketEvent | FlowEvent): void {
    const pods = endsOf(event).map(({ pod }) => pod);
    this.#options.name(event);
    for (const [at, end] of endsOf(event).entries()) {
      const pod = pods[at];
      if (pod === undefined || isByHearsay(pod) || (pod.uid === end.pod?.uid && !isByHearsay(end.pod))) continue;
      delete end.service;
      delete end.node;
      delete end.world;
      end.pod = pod;
    }
  }
}

function isNameless({ pod, service, node }: Endpoint): boolean {
  return (pod === undefined || isByHearsay(pod)) && service === undefined && node === undefined;
}

/** Only an EndpointSlice names it so, which may name any address, and by any pod's uid: a pod of this node is told with its labels. */
function isByHearsay({ labels }: PodRef): boolean {
  return labels === undefined;
}
