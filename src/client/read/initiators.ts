import type { PacketEvent } from '../../event/types.ts';

const LIMIT = 65_536;

/** Who began each conversation of a file: who was seen first. Of so many conversations the oldest are forgotten. */
export class Initiators {
  readonly #flows = new Set<string>();

  /** What the packet says itself (a SYN with ACK, an echo reply) stands; else `reply` when the other end was seen sending before. */
  direction({ dir, proto, src, dst }: PacketEvent): 'request' | 'reply' {
    const there = `${proto} ${src.ip} ${src.port ?? ''} ${dst.ip} ${dst.port ?? ''}`;
    const back = `${proto} ${dst.ip} ${dst.port ?? ''} ${src.ip} ${src.port ?? ''}`;
    if (this.#flows.has(back)) return 'reply';
    if (this.#flows.has(there)) return 'request';
    this.#flows.add(dir === 'reply' ? back : there);
    if (this.#flows.size > LIMIT) this.#flows.delete(this.#flows.values().next().value as string);
    return dir;
  }
}
