import { isDeepStrictEqual } from 'node:util';
import type { NoticeEvent } from '../event/types.ts';

export type Notice = Pick<NoticeEvent, 'code' | 'text' | 'level' | 'interfaces'>;

/** Notices that hold until they are withdrawn, one for each code: who follows later is told them, too. */
export class Notices {
  readonly #node: string;
  readonly #tell: (notice: NoticeEvent) => void;
  readonly #standing = new Map<string, NoticeEvent>();

  /** @param tell hands a notice to everybody who follows now */
  constructor(node: string, tell: (notice: NoticeEvent) => void) {
    this.#node = node;
    this.#tell = tell;
  }

  /** For a follower that comes now. */
  all(): Iterable<NoticeEvent> {
    return this.#standing.values();
  }

  has(code: NoticeEvent['code']): boolean {
    return this.#standing.has(code);
  }

  /** Tells it, also when it was told already. */
  put(notice: Notice): void {
    const event = this.event(notice);
    this.#standing.set(notice.code, event);
    this.#tell(event);
  }

  /** Tells it where something else, or nothing, holds under its code: for what is tried again and fails for the same reason each time. */
  update(notice: Notice): void {
    const { text, interfaces } = this.#standing.get(notice.code) ?? {};
    if (text !== notice.text || !isDeepStrictEqual(interfaces, notice.interfaces)) this.put(notice);
  }

  /** Ends a notice's time; `by`, when given, is told once to those who follow now. */
  withdraw(code: NoticeEvent['code'], by?: Notice): void {
    if (this.#standing.delete(code) && by !== undefined) this.once(by);
  }

  /** Tells those who follow now, and nobody who comes later. */
  once(notice: Notice): void {
    this.#tell(this.event(notice));
  }

  event(notice: Notice): NoticeEvent {
    return { v: 1, kind: 'notice', node: this.#node, ...notice };
  }
}
