/** The kernel ring is emptied this often while there is something in it, and at once when there is again or when a quarter of it is full. */
const USUAL_MS = 8;
/** The same while so much is read that nobody follows it line by line: each reading has a price, with all that it wakes. */
const BUSY_MS = 32;
/** Bytes in a millisecond from which on that is so, 2,000 sightings a second; and below which it is not any more. */
const BUSY_FROM = 700;
const BUSY_UNTIL = 350;
/** Over which time they are counted, at least. */
const COUNTED_MS = 100;
/** The same while nobody waits for what is read. */
const PATIENT_MS = 100;
/** What is open is looked at with each reading; by itself this much after the next reading was due, which has found nothing then. */
const SPARE_MS = 5;
/** Where no packet is open, what waits for an answer or to be forgotten is looked at this often. */
const WAITING_MS = 200;

export interface ReadingPaceOptions {
  /**
   * Looks at what is open and at what waits.
   * @param lateMs an answer that came so long ago may not have been told yet
   * @param isRead it is called while what was just read is being taken in
   */
  look(lateMs: number, isRead: boolean): void;
  isOpen(): boolean;
  isWaiting(): boolean;
  /** The ring is to be read at another pace, see `intervalMs`. */
  paced(): void;
}

/**
 * How often the ring is read, and when what was read is looked at again. An agent that has nothing to do sleeps: what runs on its node pays for each time
 * that it wakes.
 */
export class ReadingPace {
  readonly #options: ReadingPaceOptions;
  #timer: NodeJS.Timeout | undefined;
  #timerMs = 0;
  #isPatient = false;
  #isBusy = false;
  #bytes = 0;
  #countedFromMs = 0;

  constructor(options: ReadingPaceOptions) {
    this.#options = options;
  }

  get intervalMs(): number {
    if (this.#isPatient) return PATIENT_MS;
    return this.#isBusy ? BUSY_MS : USUAL_MS;
  }

  /** Whether nobody waits for what is read. */
  set isPatient(isPatient: boolean) {
    if (isPatient === this.#isPatient) return;
    this.#isPatient = isPatient;
    if (this.#timer !== undefined) this.#lookLater();
  }

  /** Something was read, so many bytes. `nowMs` is of any monotonic clock. */
  read(bytes: number, nowMs: number): void {
    this.#count(bytes, nowMs);
    this.#look(true);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #count(bytes: number, nowMs: number): void {
    this.#bytes += bytes;
    const elapsedMs = nowMs - this.#countedFromMs;
    if (elapsedMs < COUNTED_MS) return;
    const isBusy = this.#bytes / elapsedMs >= (this.#isBusy ? BUSY_UNTIL : BUSY_FROM);
    this.#bytes = 0;
    this.#countedFromMs = nowMs;
    if (isBusy === this.#isBusy) return;
    this.#isBusy = isBusy;
    this.#options.paced();
  }

  #look(isRead: boolean): void {
    this.#options.look(this.#isPatient ? 3 * PATIENT_MS : 0, isRead);
    this.#lookLater();
  }

  #lookLater(): void {
    const isOpen = this.#options.isOpen();
    if (!isOpen && !this.#options.isWaiting()) {
      this.stop();
      return;
    }
    const ms = isOpen ? this.intervalMs + SPARE_MS : WAITING_MS;
    if (this.#timer !== undefined && ms === this.#timerMs) {
      this.#timer.refresh();
      return;
    }
    clearTimeout(this.#timer);
    this.#timerMs = ms;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#look(false);
    }, ms);
  }
}
