import type { NoticeEvent } from '../../event/types.ts';
import { listText } from '../../util/many-text.ts';

/** Nodes of one kind say the same when a follow begins, one after the other, until what is followed is told. What is wrong waits less. */
const INFO_MS = 1000;
const WRONG_MS = 100;

/** Notices that several nodes say in the same words, told as one of all these nodes. */
export class SameNotices {
  readonly #tell: (notice: NoticeEvent) => void;
  readonly #held = new Map<string, { notice: NoticeEvent; nodes: string[] }>();
  #timer: NodeJS.Timeout | undefined;
  #isSoon = false;

  constructor(tell: (notice: NoticeEvent) => void) {
    this.#tell = tell;
  }

  add(notice: NoticeEvent & { node: string }): void {
    const key = JSON.stringify([notice.level, notice.code, notice.text, notice.interfaces]);
    const held = this.#held.get(key);
    if (held === undefined) this.#held.set(key, { notice, nodes: [notice.node] });
    else held.nodes.push(notice.node);
    const isWrong = notice.level !== 'info';
    if (this.#timer !== undefined && (this.#isSoon || !isWrong)) return;
    clearTimeout(this.#timer);
    this.#isSoon = isWrong;
    this.#timer = setTimeout(() => this.flush(), isWrong ? WRONG_MS : INFO_MS);
  }

  /** Tells what is held. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const held = [...this.#held.values()];
    this.#held.clear();
    for (const { notice, nodes } of held) this.#tell({ ...notice, node: listText([...new Set(nodes)].sort()) });
  }
}
