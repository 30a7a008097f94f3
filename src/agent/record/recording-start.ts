import type { NoticeEvent } from '../../event/types.ts';
import { messageOf } from '../../util/errors.ts';
import type { Logger } from '../../util/log.ts';
import type { Recorder } from './recorder.ts';

export interface RecordingStartOptions {
  start(): Promise<Recorder>;
  notice(notice: Pick<NoticeEvent, 'code' | 'text' | 'level'>): void;
  withdraw(code: NoticeEvent['code'], by?: Pick<NoticeEvent, 'code' | 'text' | 'level'>): void;
  log: Logger;
  /** Who starts the agent waits no longer for the disk. */
  patienceMs?: number;
}

const PATIENCE_MS = 5000;
const CODE = 'KTRACE_N_RECORDER';

/** A recording that may begin later than the agent: its disk need not answer. */
export class RecordingStart {
  /** Undefined: it has not begun. */
  recorder: Recorder | undefined;
  readonly #options: RecordingStartOptions;
  #isLate = false;
  #isClosed = false;

  /** Resolves when it has begun, or the disk has not answered for a while. Rejects where it cannot begin at all. */
  static async begin(options: RecordingStartOptions): Promise<RecordingStart> {
    const start = new RecordingStart(options);
    const begun = options.start().then((recorder) => start.#begun(recorder));
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(() => {
        start.#late(begun);
        resolve();
      }, options.patienceMs ?? PATIENCE_MS);
    });
    await Promise.race([begun, late]).finally(() => clearTimeout(timer));
    return start;
  }

  private constructor(options: RecordingStartOptions) {
    this.#options = options;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.recorder?.close();
  }

  #late(begun: Promise<void>): void {
    const { notice, log } = this.#options;
    this.#isLate = true;
    const why = 'its disk has not answered since the agent began';
    log.warn({ why }, 'the recorder cannot begin');
    notice({ code: CODE, level: 'warn', text: `what happens on this node is not recorded: ${why}` });
    begun.catch((error: unknown) => {
      log.error({ err: messageOf(error) }, 'the recorder cannot begin');
      notice({ code: CODE, level: 'warn', text: `what happens on this node is not recorded: ${messageOf(error)}` });
    });
  }

  async #begun(recorder: Recorder): Promise<void> {
    if (this.#isClosed) return recorder.close();
    this.recorder = recorder;
    if (!this.#isLate) return;
    this.#options.log.info('the recorder has begun');
    this.#options.withdraw(CODE, { code: CODE, level: 'info', text: 'what happens on this node is recorded from now on' });
  }
}
