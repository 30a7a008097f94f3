import type { FlowEvent } from '../event/types.ts';
import { exitTuple } from './part.ts';

/** Conversations remembered; the one that was quiet for longest is forgotten first. */
const MAX_FLOWS = 65_536;

interface Known {
  /** Whose telling is shown. */
  owner: string | undefined;
  /** What each node said last to the filter. */
  judged: Map<string, string | undefined>;
}

/**
 * Both ends' nodes count a conversation between two pods. It is told once, by the node of its source where that is followed: it alone knows
 * the Service that was asked for. Else by whoever tells it first. Whether it is told at all, all of them say. A node that is not followed any
 * more tells and says nothing: another one's telling takes over, until the source's is there again.
 */
export class FlowOwners {
  readonly #known = new Map<string, Known>();
  readonly #isFollowed: (node: string) => boolean;

  constructor(isFollowed: (node: string) => boolean) {
    this.#isFollowed = isFollowed;
  }

  /** Takes in what a node says to the filter, before it is decided what is shown. */
  learn(event: FlowEvent, node: string): void {
    this.#touch(event).judged.set(node, event.judged);
  }

  /** Is this node's telling of the conversation the one to show? Decides, for a conversation not known yet. */
  isShown(event: FlowEvent, node: string): boolean {
    const known = this.#touch(event);
    const isFree = known.owner === undefined || !this.#isFollowed(known.owner);
    if (isFree || event.src.pod?.node === node) known.owner = node;
    return known.owner === node;
  }

  /** What the node that tells it and all nodes that are followed said of the conversation. */
  judgedOf(event: FlowEvent, node: string): (string | undefined)[] {
    const { judged } = this.#touch(event);
    for (const other of judged.keys()) if (other !== node && !this.#isFollowed(other)) judged.delete(other);
    return [...judged.values()];
  }

  #touch(event: FlowEvent): Known {
    const key = flowKey(event);
    const known = this.#known.get(key) ?? { owner: undefined, judged: new Map() };
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
