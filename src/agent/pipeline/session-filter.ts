import type { Subscription } from '../../event/target.ts';
import type { FlowEvent, KtraceEvent, PacketEvent } from '../../event/types.ts';
import { LiveFilter } from '../../filter/evaluate/judge.ts';
import { judgedText } from '../../filter/evaluate/judged.ts';

const ICMP_BYTES = 8;
const IPV6_BYTES = 40;

export interface SessionFilterOptions {
  node: string;
  vxlanPort(): number | undefined;
}

export interface Passed {
  passed?: KtraceEvent;
  wantsBytes?: number;
}

/** A follower's filter, which judges records as this follower may see them. */
export class SessionFilter {
  readonly #filter: LiveFilter;
  readonly #revision: number;
  readonly #options: SessionFilterOptions;

  /** Throws KTRACE_E_FILTER. */
  constructor({ text, revision }: NonNullable<Subscription['filter']>, options: SessionFilterOptions) {
    this.#filter = new LiveFilter(text);
    this.#revision = revision;
    this.#options = options;
  }

  /**
   * The record with what it says to the filter; without it when no other node's part can make it match. `seen` is what is left of `event` for
   * this follower. `wantsBytes`: that was for want of captured bytes, of which the filter reads so many. Losses and notices pass.
   */
  pass(seen: KtraceEvent, event: KtraceEvent, captured: readonly Uint8Array[] = []): Passed {
    if (seen.kind === 'lost' || seen.kind === 'notice') return { passed: seen };
    const { node, vxlanPort } = this.#options;
    const { outcome, answers, wantsBytes } = this.#filter.judge(seen, {
      captured: isQuoteWithheld(seen, event) ? captured.map(withoutQuote) : captured,
      vxlanPort: vxlanPort(),
      isWhole: isWhole(seen, node),
    });
    const wants = wantsBytes === undefined ? {} : { wantsBytes };
    if (outcome === 'beyond') return wants;
    if (outcome === 'mismatch') return {};
    const judged = judgedText(this.#revision, answers);
    return { passed: seen.kind === 'packet' && wantsBytes !== undefined ? { ...seen, judged, wantsBytes } : { ...seen, judged } };
  }
}

/** Whether the record is all that any node can tell: the packet began at a pod here, and ended here. */
function isWhole(seen: PacketEvent | FlowEvent, node: string): boolean {
  if (seen.src.pod?.node !== node) return false;
  if (seen.kind === 'packet') return seen.hops[0]?.dir === 'in' && (seen.verdict === 'delivered' || seen.verdict === 'dropped');
  const last = seen.nat?.findLast(({ kind }) => kind === 'dnat')?.after ?? seen.dst;
  return last.pod?.node === node;
}

function isQuoteWithheld(seen: KtraceEvent, event: KtraceEvent): boolean {
  return seen.kind === 'packet' && event.kind === 'packet' && event.icmp?.about !== undefined && seen.icmp?.about === undefined;
}

function withoutQuote(bytes: Uint8Array): Uint8Array {
  const first = bytes[0] ?? 0;
  return bytes.subarray(0, (first >> 4 === 6 ? IPV6_BYTES : (first & 15) * 4) + ICMP_BYTES);
}
