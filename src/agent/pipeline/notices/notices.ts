import { isDeepStrictEqual } from 'node:util';
import type { NoticeEvent } from '../../../event/types.ts';

export type Notice = Pick<NoticeEvent, 'code' | 'text' | 'level' | 'interfaces'>;

/** Notices that stand until they are withdrawn, one for each code. Who follows later gets them, too. */
export class Notices {
  readonly #node: string;
  readonly #tell: (notice: NoticeEvent) => void;
  readonly #standing = new Map<string, NoticeEvent>();

  /** @param tell delivers a notice to everybody who follows now */
  constructor(node: string, tell: (notice: NoticeEvent) => void) {
    this.#node = node;
    this.#tell = tell;
  }

  /** The standing notices, for a new follower. */
  all(): Iterable<NoticeEvent> {
    return this.#standing.values();
  }

  has(code: NoticeEvent['code']): boolean {
    return this.#standing.has(code);
  }

  /** Delivers a notice and keeps it. */
  put(notice: Notice): void {
    const event = this.event(notice);
    this.#standing.set(notice.code, event);
    this.#tell(event);
  }

  /** The same, unless it stands already as it is: for what is tried again and fails for the same reason. */
  update(notice: Notice): void {
    const { text, interfaces } = this.#standing.get(notice.code) ?? {};
    if (text !== notice.text || !isDeepStrictEqual(interfaces, notice.interfaces)) this.put(notice);
  }

  /** Removes a notice. `by`, when given, is delivered once to those who follow now, if there was one. */
  withdraw(code: NoticeEvent['code'], by?: Notice): void {
    if (this.#standing.delete(code) && by !== undefined) this.once(by);
  }

  /** Delivers a notice to those who follow now, and does not keep it. */
  once(notice: Notice): void {
    this.#tell(this.event(notice));
  }

  event(notice: Notice): NoticeEvent {
    return { v: 1, kind: 'notice', node: this.#node, ...notice };
  }
}
