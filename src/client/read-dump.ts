import type { KtraceEvent } from '../event/types.ts';
import { EXIT, type KtraceError, messageOf } from '../util/errors.ts';
import { countText, manyText } from '../util/many-text.ts';
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
  const counts = { read: 0, filtered: 0, undecided: 0, unreadable: 0 };
  let unreadable: KtraceError | undefined;
  const printer = new DumpOutput({ output, color }, io);
  printer.describe({ reading: { filter: filter?.text } });
  let vxlanPort: number | undefined;
  const onManifest = (manifest: Manifest): void => {
    vxlanPort = manifest.vxlanPort;
    printer.describe({ manifest, summary: manifest.end?.summary });
  };
  const onUnreadable = (error: KtraceError): void => {
    counts.read += 1;
    counts.unreadable += 1;
    unreadable ??= error;
  };
  try {
    for await (const event of readDump(path, { onManifest, onUnreadable })) {
      if (printer.isGone) break;
      if (io.interrupt.aborted) {
        printer.describe({ troubles: ['The reading was interrupted: what comes after is missing.'] });
        break;
      }
      counts.read += 1;
      const outcome = filter === undefined ? 'match' : judge(filter, event, vxlanPort);
      if (outcome === 'match') await printer.tell(event);
      else {
        counts.filtered += 1;
        if (outcome === 'beyond') counts.undecided += 1;
      }
      if (printer.shown.records === count) {
        printer.describe({ troubles: [`No more than ${manyText(count, 'record')} of it was to be shown.`] });
        break;
      }
    }
  } catch (error) {
    printer.describe({ troubles: [messageOf(error)] });
    throw error;
  } finally {
    if (unreadable !== undefined && !printer.isGone) {
      const text = `${manyText(counts.unreadable, 'record')} of this file cannot be read: ${unreadable.message}`;
      await printer.tell({ v: 1, kind: 'notice', level: 'warn', code: 'KTRACE_N_EVENTS_INVALID', text });
    }
    await printer.end();
    if (counts.read > 0 && !printer.isGone) io.stderr.write(`ktrace: ${summaryOf(counts, printer.shown.records)}\n`);
  }
  return io.interrupt.aborted ? EXIT.interrupted : EXIT.ok;
}

/** All parts of a packet are joined in a dump: nobody else has anything to tell of it. */
function judge({ filter }: ReadFilter, event: KtraceEvent, vxlanPort: number | undefined): 'match' | 'mismatch' | 'beyond' {
  if (event.kind === 'lost' || event.kind === 'notice') return 'match';
  const captured = event.kind === 'packet' ? (event.headers ?? []).map((text) => Buffer.from(text, 'base64')) : [];
  const { outcome } = filter.judge(event, { captured, vxlanPort, isWhole: true });
  return outcome === 'match' || outcome === 'beyond' ? outcome : 'mismatch';
}

function summaryOf(
  { read, filtered, undecided, unreadable }: { read: number; filtered: number; undecided: number; unreadable: number },
  shown: number,
): string {
  const parts = [
    `${manyText(read, 'record')} read`,
    `${countText(shown)} shown`,
    ...(filtered > 0
      ? [
          `${countText(filtered)} not matched by the filter${undecided > 0 ? ` (${countText(undecided)} not decided, for want of captured bytes)` : ''}`,
        ]
      : []),
    ...(unreadable > 0 ? [`${countText(unreadable)} unreadable`] : []),
  ];
  return parts.join(', ');
}
