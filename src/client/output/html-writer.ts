import type { KtraceEvent } from '../../event/types.ts';
import { badArgument } from '../../util/errors.ts';
import { pageOf } from '../render/html/page.ts';
import type { ReportFacts } from '../report/facts.ts';
import { Report } from '../report/report.ts';

/** Records as one HTML page, which is written when all of them are known. Throws KTRACE_E_ARGUMENT where it would go to a terminal. */
export class HtmlWriter {
  readonly #report = new Report();
  readonly #facts: ReportFacts = { troubles: [] };

  constructor({ isTTY }: { isTTY?: boolean }) {
    if (isTTY === true) throw badArgument('-o html', 'a file or a pipe', 'a terminal');
  }

  add(event: KtraceEvent): void {
    this.#report.add(event);
  }

  /** What is known of the dump now; what is given again replaces what it was, troubles are added. */
  describe({ troubles = [], ...facts }: Partial<ReportFacts>): void {
    Object.assign(this.#facts, facts);
    this.#facts.troubles.push(...troubles);
  }

  /** The page in pieces. */
  *end(): Generator<Buffer> {
    this.#report.end();
    for (const piece of pageOf(this.#report, this.#facts)) yield Buffer.from(piece);
  }
}
