import type { NoticeEvent } from '../../event/types.ts';
import type { AgentMessage } from '../../protocol/messages.ts';

/** A client gets the number no more often than this, however many packets there are. */
const TELL_MS = 100;

export interface ShortagesOptions {
  node: string;
  notice(notice: NoticeEvent): void;
  send(message: Extract<AgentMessage, { type: 'undecided' }>): void;
}

/** Packets of which less was captured than their follower's filter reads, counted and reported to the follower. */
export class Shortages {
  readonly #options: ShortagesOptions;
  #packets = 0;
  #wantsBytes = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: ShortagesOptions) {
    this.#options = options;
  }

  /** One more; the filter reads up to `wantsBytes` of it, from the IP header on. */
  add(wantsBytes: number): void {
    this.#packets += 1;
    this.#wantsBytes = Math.max(this.#wantsBytes, wantsBytes);
    // Told again when ten times as many: seldom enough to be read.
    if (/^10*$/.test(String(this.#packets))) this.#options.notice(this.#notice());
    // The first is reported at once: a follow may end before there are more.
    if (this.#timer === undefined) this.tell();
  }

  /** Tells the figures as they are, where there are any, and what they have become a moment later. */
  tell(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#packets === 0) return;
    const packets = this.#packets;
    this.#options.send({ type: 'undecided', packets, wantsBytes: this.#wantsBytes });
    this.#timer = setTimeout(() => this.#tellChange(packets), TELL_MS).unref();
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  #tellChange(told: number): void {
    this.#timer = undefined;
    if (this.#packets !== told) this.tell();
  }

  #notice(): NoticeEvent {
    const packets = this.#packets === 1 ? '1 packet was' : `${this.#packets} packets were`;
    const text = `${packets} captured shorter than the filter reads (up to byte ${this.#wantsBytes} from the IP header on): no match`;
    return { v: 1, kind: 'notice', node: this.#options.node, level: 'warn', code: 'KTRACE_N_FILTER_BYTES', text };
  }
}
