import type { Link } from '../../native/types.ts';

export interface PodAddressesOptions {
  /** The addresses of the interface on the other side, asked of the kernel; empty when there are none, or they cannot be read. */
  read(link: Link): string[];
  /** An address was found, or has gone. */
  changed(): void;
}

interface Asked {
  link: Link;
  ips: readonly string[];
  askedMs: number;
  /** Since when it is watched. */
  sinceMs: number | undefined;
}

/** How often, at most, a pod without addresses is asked for them. */
const ASK_AGAIN_MS = 50;
/**
 * A pod's interface is there a moment before its first address, its first address before its second, and all long before its containers: for so long
 * it is asked, with an address and without, and so many at once.
 */
const SETTLED_MS = 1500;
const GIVEN_UP_MS = 10_000;
const MOST_ASKED = 64;
/** The API server reports a pod within this time; an address that it has not reported then is no pod's. */
const NEW_MS = 60_000;

/** The addresses inside the node's pods, as the kernel has them: the API server reports them a second after they are in use. */
export class PodAddresses {
  readonly #options: PodAddressesOptions;
  readonly #known = new Map<number, Asked>();
  /** By address, how many interfaces it is behind. */
  readonly #holders = new Map<string, number>();
  readonly #unsettled = new Set<Asked>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: PodAddressesOptions) {
    this.#options = options;
  }

  /** Of the pod behind an interface; empty when it has none yet. Monotonic milliseconds. */
  of(link: Link, nowMs: number): readonly string[] {
    const known = this.#find(link);
    if (known.ips.length > 0 || nowMs - known.askedMs < ASK_AGAIN_MS) return known.ips;
    this.#read(known, nowMs);
    return known.ips;
  }

  /** Whether it was found behind an interface. */
  has(ip: string): boolean {
    return this.#holders.has(ip);
  }

  /** Those behind interfaces that are new. */
  recent(nowMs: number): string[] {
    return [...this.#known.values()].flatMap(({ ips, sinceMs }) =>
      sinceMs !== undefined && nowMs - sinceMs < NEW_MS ? ips : [],
    );
  }

  /** A new interface: asks until there is an address, or it has taken too long. */
  watch(link: Link, nowMs: number): void {
    const known = this.#find(link);
    if (known.ips.length > 0) return;
    known.sinceMs ??= nowMs;
    this.#unsettled.add(known);
    this.#timer ??= setInterval(() => this.#ask(performance.now()), ASK_AGAIN_MS).unref();
  }

  forget(ifindex: number): void {
    const known = this.#known.get(ifindex);
    if (known === undefined) return;
    this.#known.delete(ifindex);
    this.#unsettled.delete(known);
    if (known.ips.length === 0) return;
    this.#hold(known, []);
    this.#options.changed();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** What is known is of the same pod for as long as the interface leads to the same other side. */
  #find(link: Link): Asked {
    const known = this.#known.get(link.ifindex);
    if (known !== undefined && known.link.linkNetnsId === link.linkNetnsId && known.link.link === link.link) return known;
    if (known !== undefined) this.forget(link.ifindex);
    const asked: Asked = { link, ips: [], askedMs: Number.NEGATIVE_INFINITY, sinceMs: undefined };
    this.#known.set(link.ifindex, asked);
    return asked;
  }

  /** Whether it has others than before. */
  #read(known: Asked, nowMs: number): boolean {
    known.askedMs = nowMs;
    const ips = this.#options.read(known.link);
    if (ips.join() === known.ips.join()) return false;
    this.#hold(known, ips);
    return true;
  }

  #hold(known: Asked, ips: readonly string[]): void {
    for (const ip of known.ips) {
      const others = (this.#holders.get(ip) ?? 0) - 1;
      if (others > 0) this.#holders.set(ip, others);
      else this.#holders.delete(ip);
    }
    for (const ip of ips) this.#holders.set(ip, (this.#holders.get(ip) ?? 0) + 1);
    known.ips = ips;
  }

  #ask(nowMs: number): void {
    let hasChanged = false;
    for (const known of [...this.#unsettled].slice(0, MOST_ASKED)) {
      // Who was not asked for longest comes first.
      this.#unsettled.delete(known);
      if (this.#read(known, nowMs)) hasChanged = true;
      if (nowMs - (known.sinceMs ?? 0) < (known.ips.length > 0 ? SETTLED_MS : GIVEN_UP_MS)) this.#unsettled.add(known);
    }
    if (hasChanged) this.#options.changed();
    if (this.#unsettled.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
