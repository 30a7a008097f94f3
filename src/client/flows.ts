import type { FlowEvent } from '../event/types.ts';
import { exitTuple } from './part.ts';

/** Conversations remembered; the one that was quiet for longest is forgotten first. */
const MAX_FLOWS = 65_536;

/**
 * Both ends' nodes count a conversation between two pods. It is told once, by the node of its source where that is followed: it alone knows
 * the Service that was asked for. Else by whoever tells it first.
 */
export class FlowOwners {
  readonly #owners = new Map<string, string>();

  /** Is this node's telling of the conversation the one to show? Decides, for a conversation not known yet. */
  isShown(event: FlowEvent, node: string): boolean {
    const key = flowKey(event);
    const owner = event.src.pod?.node === node ? node : (this.#owners.get(key) ?? node);
    this.#owners.delete(key);
    this.#owners.set(key, owner);
    if (this.#owners.size > MAX_FLOWS) this.#owners.delete(this.#owners.keys().next().value as string);
    return owner === node;
  }
}

/** The same on every node that sees the conversation: its addresses after all translation. */
function flowKey(event: FlowEvent): string {
  const { src, dst } = exitTuple({ ...event, dir: 'request' });
  return `${event.proto} ${src.ip} ${src.port ?? ''} ${dst.ip} ${dst.port ?? ''}`;
}
