import type { FlowEvent } from '../../event/types.ts';
import { exitTuple } from './packet.ts';

/** Conversations remembered; the one that was quiet for longest is forgotten first. */
const MAX_FLOWS = 65_536;

/** A conversation's end is told so long after its last packet at most. */
const CLOSE_MS = 150_000;

interface Known {
  /** Whose telling is shown. */
  owner: string | undefined;
  /** It has told the end. */
  isClosed: boolean;
  /** What each node said last to the filter. */
  judged: Map<string, string | undefined>;
}

/**
 * Both ends' nodes count a conversation between two pods. It is told once, by the node of its source where that is followed: it alone knows
 * the Service that was asked for. Else by whoever tells it first. Whether it is told at all, all of them say. A node that is not followed any
 * more, or was not at that time, tells and says nothing: another one's telling takes over, until the source's is there again.
 */
export class FlowOwners {
  readonly #known = new Map<string, Known>();
  readonly #isFollowed: (node: string, fromMs: number, toMs: number) => boolean;

  constructor(isFollowed: (node: string, fromMs: number, toMs: number) => boolean) {
    this.#isFollowed = isFollowed;
  }

  /** Takes in what a node says to the filter, before it is decided what is shown. */
  learn(event: FlowEvent, node: string): void {
    this.#touch(event).judged.set(node, event.judged);
  }

  /**
   * What the node that tells it, and all that could have told it, said to the filter; undefined: another node's telling of the conversation is shown, not
   * this one. Decides that, for a conversation not known yet.
   */
  judgedIfShown(event: FlowEvent, node: string): (string | undefined)[] | undefined {
    const known = this.#touch(event);
    const tells = (other: string): boolean => other === node || this.#tells(other, event, known.isClosed);
    const source = event.src.pod?.node;
    // By clocks that are not quite the same this one may come before what the source's node has told already.
    if (source !== undefined && source !== node && known.judged.has(source) && tells(source)) return undefined;
    if (known.owner === undefined || !tells(known.owner) || source === node) known.owner = node;
    if (known.owner !== node) return undefined;
    for (const other of known.judged.keys()) if (!tells(other)) known.judged.delete(other);
    known.isClosed = event.state === 'close';
    return [...known.judged.values()];
  }

  /** Could a node have told what this record tells? An end that was not told before is told later than it was. */
  #tells(node: string, { state, endTime }: FlowEvent, isClosed: boolean): boolean {
    const endMs = Date.parse(endTime);
    return this.#isFollowed(node, endMs, state === 'close' && !isClosed ? endMs + CLOSE_MS : endMs);
  }

  #touch(event: FlowEvent): Known {
    const key = flowKey(event);
    const known = this.#known.get(key) ?? { owner: undefined, isClosed: false, judged: new Map() };
    this.#known.delete(key);
    this.#known.set(key, known);
    if (this.#known.size > MAX_FLOWS) this.#known.delete(this.#known.keys().next().value as string);
    return known;
  }
}

/** The same on every node that sees the conversation: its addresses after all translation. */
function flowKey(event: FlowEvent): string {
  const { src, dst } = exitTuple({ ...event, dir: 'request' });
  return `${event.proto} ${src.ip} ${src.port ?? ''} ${dst.ip} ${dst.port ?? ''}`;
}
