import type { KtraceEvent } from '../event/types.ts';
import { EXIT, messageOf } from '../util/errors.ts';
import { type Manifest, readDump } from './dump-file.ts';
import { DumpOutput, type DumpOutputIo } from './dump-output.ts';
import type { ReadFilter } from './follow-filter.ts';
import type { ReadIo, ReadOptions } from './read.ts';
import { readFilter } from './words.ts';

/**
 * Prints the records of a dump that a filter takes, bit for bit as `ktrace dump` printed them. Gives the exit code; throws KtraceError, after everything
 * that could be read was printed.
 */
export async function readDumpFile(
  { path, words, output, count, color }: ReadOptions,
  io: Pick<ReadIo, 'interrupt' | 'lookUp'> & DumpOutputIo,
): Promise<number> {
  const filter = await readFilter(words.join(' '), io.lookUp);
  const counts = { read: 0, filtered: 0, undecided: 0 };
  const printer = new DumpOutput({ output, color }, io);
  printer.describe({ reading: { filter: filter?.text } });
  const describe = (manifest: Manifest): void => printer.describe({ manifest, summary: manifest.end?.summary });
  try {
    for await (const event of readDump(path, describe)) {
      if (printer.isGone) break;
      if (io.interrupt.aborted) {
        printer.describe({ troubles: ['The reading was interrupted: what comes after is missing.'] });
        break;
      }
      counts.read += 1;
      const outcome = filter === undefined ? 'match' : judge(filter, event);
      if (outcome === 'match') await printer.tell(event);
      else {
        counts.filtered += 1;
        if (outcome === 'beyond') counts.undecided += 1;
      }
      if (printer.shown === count) {
        printer.describe({ troubles: [`Only the first ${count} records were to be shown.`] });
        break;
      }
    }
  } catch (error) {
    printer.describe({ troubles: [messageOf(error)] });
    throw error;
  } finally {
    await printer.end();
    if (counts.read > 0 && !printer.isGone) io.stderr.write(`ktrace: ${summaryOf(counts, printer.shown)}\n`);
  }
  return io.interrupt.aborted ? EXIT.interrupted : EXIT.ok;
}

/** All parts of a packet are joined in a dump: nobody else has anything to tell of it. */
function judge({ filter }: ReadFilter, event: KtraceEvent): 'match' | 'mismatch' | 'beyond' {
  if (event.kind === 'lost' || event.kind === 'notice') return 'match';
  const captured = event.kind === 'packet' ? (event.headers ?? []).map((text) => Buffer.from(text, 'base64')) : [];
  const { outcome } = filter.judge(event, { captured, isWhole: true });
  return outcome === 'match' || outcome === 'beyond' ? outcome : 'mismatch';
}

function summaryOf({ read, filtered, undecided }: { read: number; filtered: number; undecided: number }, shown: number): string {
  const parts = [
    `${read} records read`,
    `${shown} shown`,
    ...(filtered > 0 ? [`${filtered} not matched by the filter`] : []),
    ...(undecided > 0 ? [`${undecided} of them not decided, for want of captured bytes`] : []),
  ];
  return parts.join(', ');
}
