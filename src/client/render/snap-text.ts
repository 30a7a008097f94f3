import { CAPTURE } from '../../event/layout.ts';
import type { ReadFilter } from '../merge/follow-filter.ts';
import { escapeText } from './style/escape.ts';

/** Why a term that reads up to byte `readsTo` of every packet matches nothing, and what would change it. */
export function pastHeadersText(readsTo: number, snapBytes: number): string {
  const captured =
    snapBytes === 0 ? 'the headers alone are captured' : `no more than ${snapBytes} bytes and the headers are captured`;
  return `it reads up to byte ${readsTo} from the IP header on at least, and ${captured}; ${remedy(readsTo, 'would capture them')}`;
}

/** What of a filter no record can match: a recording holds no payload. */
export function recordedNotes(filter: ReadFilter | undefined): string[] {
  return (filter?.pastHeaders ?? []).map(
    ({ term, readsTo }) =>
      `"${escapeText(term)}" matches nothing: it reads up to byte ${readsTo} from the IP header on at least, and ${HEADERS_ALONE}`,
  );
}

const HEADERS_ALONE = 'of a recorded packet there are the headers alone';

/** Packets that a filter did not match for want of captured bytes, and up to where it reads them. */
interface Shortages {
  packets: number;
  wantsBytes: number;
}

/** What a filter on payload missed among records; undefined: nothing. */
export function undecidedRecordsText(shortages: Shortages): string | undefined {
  return shortages.packets === 0 ? undefined : `${missedText(shortages, 'from the IP header on')}: ${HEADERS_ALONE}`;
}

/** What a filter missed of a capture file; undefined: nothing. */
export function undecidedFileText(shortages: Shortages): string | undefined {
  return shortages.packets === 0 ? undefined : missedText(shortages, 'of the packet as it lies in the file');
}

function missedText({ packets, wantsBytes }: Shortages, from: string): string {
  const were = packets === 1 ? '1 packet was' : `${packets} packets were`;
  return `${were} captured shorter than the filter reads, up to byte ${wantsBytes} ${from}, and not matched`;
}

/** What a filter on payload missed; undefined: nothing. */
export function undecidedText(shortages: Shortages, snapBytes: number | undefined): string | undefined {
  if (shortages.packets === 0) return undefined;
  const { wantsBytes } = shortages;
  const missed = missedText(shortages, 'from the IP header on');
  // Of a packet that is dropped what lies in one piece can be had; what was on its way when the follow began was captured for others.
  if (wantsBytes <= (snapBytes ?? 0))
    return `${missed}: no more could be had of them (dropped, or on their way when the follow began)`;
  return `${missed}; ${remedy(wantsBytes, 'would have decided')}`;
}

/** The snap length that is needed, or why there is none. */
export function remedy(wantsBytes: number, would: string): string {
  if (wantsBytes > CAPTURE.most) return `more than ${CAPTURE.most} bytes are never captured`;
  return `--snaplen ${wantsBytes} ${would}`;
}
