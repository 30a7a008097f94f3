import type { KtraceEvent } from '../../event/types.ts';
import type { Judged } from '../../filter/evaluate/judge.ts';
import { EXIT, type KtraceError, messageOf } from '../../util/errors.ts';
import { countText, manyText } from '../../util/many-text.ts';
import { type Manifest, readDump } from '../file/dump-file.ts';
import type { ReadFilter } from '../merge/follow-filter.ts';
import { readFilter } from '../merge/follow-filter.ts';
import { DumpOutput, type DumpOutputIo } from '../output/dump-output.ts';
import { recordedNotes, undecidedRecordsText } from '../render/snap-text.ts';
import type { ReadIo, ReadOptions } from './read-options.ts';

/**
 * Prints the records of a dump that a filter takes, bit for bit as `ktrace dump` printed them. Gives the exit code; throws KtraceError, after everything
 * that could be read was printed.
 */
export async function readDumpFile(
  { path, name = path, words, count, ...style }: ReadOptions & { name?: string },
  io: Pick<ReadIo, 'interrupt' | 'lookUp'> & DumpOutputIo,
): Promise<number> {
  const filter = await readFilter(words.join(' '), io.lookUp);
  for (const note of recordedNotes(filter)) io.stderr.write(`ktrace: ${note}\n`);
  const counts = { read: 0, filtered: 0, undecided: 0, unreadable: 0 };
  let wantsBytes = 0;
  let unreadable: KtraceError | undefined;
  const printer = new DumpOutput(style, io);
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
    for await (const event of readDump(path, { name, onManifest, onUnreadable })) {
      if (printer.isGone) break;
      if (io.interrupt.aborted) {
        printer.describe({ troubles: ['The reading was interrupted: what comes after is missing.'] });
        break;
      }
      counts.read += 1;
      const judged = filter === undefined ? MATCH : judge(filter, event, vxlanPort);
      if (judged.outcome === 'match') await printer.tell(event);
      else {
        counts.filtered += 1;
        if (judged.outcome === 'beyond' && judged.wantsBytes !== undefined) {
          counts.undecided += 1;
          wantsBytes = Math.max(wantsBytes, judged.wantsBytes);
        }
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
    if (counts.read > 0 && !printer.isGone) {
      io.stderr.write(`ktrace: ${summaryOf(counts, printer.shown.records)}\n`);
      const missed = undecidedRecordsText({ packets: counts.undecided, wantsBytes });
      if (missed !== undefined) io.stderr.write(`ktrace: ${missed}\n`);
    }
  }
  return io.interrupt.aborted ? EXIT.interrupted : EXIT.ok;
}

const MATCH = { outcome: 'match' } as const;

/** All parts of a packet are joined in a dump: nobody else has anything to tell of it. */
function judge(
  { filter }: ReadFilter,
  event: KtraceEvent,
  vxlanPort: number | undefined,
): Pick<Judged, 'outcome' | 'wantsBytes'> {
  if (event.kind === 'lost' || event.kind === 'notice') return MATCH;
  const captured = event.kind === 'packet' ? (event.headers ?? []).map((text) => Buffer.from(text, 'base64')) : [];
  return filter.judge(event, { captured, vxlanPort, isWhole: true });
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
