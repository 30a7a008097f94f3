import { existsSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { badArgument, messageOf } from '../../util/errors.ts';

/** A file that is there as long as a follow follows, for scripts that wait for it. It is never there in part, and no file of somebody else is replaced. */
export class ReadyFile {
  readonly #path: string;
  readonly #unready: string;
  #isReady = false;

  /** Throws KTRACE_E_ARGUMENT when there is such a file, or none can be written there. */
  constructor(path: string) {
    this.#path = path;
    this.#unready = `${path}.${process.pid}`;
    if (existsSync(path)) throw badArgument('--ready-file', 'a path where no file is yet', path);
    try {
      writeFileSync(this.#unready, '', { flag: 'wx' });
    } catch (error) {
      throw badArgument('--ready-file', `a path that can be written to (${messageOf(error)})`, path);
    }
  }

  /** With what is followed, as a line. Throws KTRACE_E_ARGUMENT when it cannot be written now. */
  ready(text: string): void {
    if (this.#isReady) return;
    try {
      writeFileSync(this.#unready, `${text}\n`);
      renameSync(this.#unready, this.#path);
    } catch (error) {
      throw badArgument('--ready-file', `a path that can be written to (${messageOf(error)})`, this.#path);
    }
    this.#isReady = true;
  }

  close(): void {
    rmSync(this.#isReady ? this.#path : this.#unready, { force: true });
  }
}
