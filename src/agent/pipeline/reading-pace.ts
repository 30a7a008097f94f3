/** The kernel ring is emptied this often while there is something in it, and at once when there is again or when a quarter of it is full. */
const USUAL_MS = 15;
/** The same while nobody waits for what is read. */
const PATIENT_MS = 100;
/** Open packets are looked at so long after the first of them was read, and then as often as the ring is. */
const FIRST_LOOK_MS = 8;
/** Where no packet is open, what waits for an answer or to be forgotten is looked at this often. */
const WAITING_MS = 200;

export interface ReadingPaceOptions {
  /** Looks at what is open and at what waits. `lateMs`: an answer that came so long ago may not have been told yet. */
  look(lateMs: number): void;
  isOpen(): boolean;
  isWaiting(): boolean;
}

/**
 * How often the ring is read, and when what was read is looked at again. An agent that has nothing to do sleeps: what runs on its node pays for each time
 * that it wakes.
 */
export class ReadingPace {
  readonly #options: ReadingPaceOptions;
  #timer: NodeJS.Timeout | undefined;
  #looksOften = false;
  #isPatient = false;

  constructor(options: ReadingPaceOptions) {
    this.#options = options;
  }

  get intervalMs(): number {
    return this.#isPatient ? PATIENT_MS : USUAL_MS;
  }

  /** Whether nobody waits for what is read. */
  set isPatient(isPatient: boolean) {
    if (isPatient === this.#isPatient) return;
    this.#isPatient = isPatient;
    if (this.#looksOften) this.#lookLater(FIRST_LOOK_MS);
  }

  /** Something was read. Who is patient has all looked at then, in place of waking for it. */
  read(): void {
    if (this.#isPatient) this.#look();
    else if (!this.#looksOften) this.#lookLater(FIRST_LOOK_MS);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#looksOften = false;
  }

  #look(): void {
    this.#options.look(this.#isPatient ? 3 * PATIENT_MS : 0);
    // Where more is read it is looked at then.
    this.#lookLater(this.#isPatient ? PATIENT_MS + USUAL_MS : USUAL_MS);
  }

  #lookLater(whenOpenMs: number): void {
    clearTimeout(this.#timer);
    this.#looksOften = this.#options.isOpen();
    const ms = this.#looksOften ? whenOpenMs : WAITING_MS;
    this.#timer = this.#looksOften || this.#options.isWaiting() ? setTimeout(() => this.#look(), ms) : undefined;
  }
}
