import { CAPTURE } from '../event/layout.ts';

/** Why a term that reads up to byte `readsTo` of every packet matches nothing, and what would change it. */
export function pastHeadersText(readsTo: number, snapBytes: number): string {
  const captured =
    snapBytes === 0 ? 'the headers alone are captured' : `no more than ${snapBytes} bytes and the headers are captured`;
  return `it reads up to byte ${readsTo} from the IP header on at least, and ${captured}; ${remedy(readsTo, 'would capture them')}`;
}

/** What a filter on payload missed; undefined: nothing. */
export function undecidedText(
  { packets, wantsBytes }: { packets: number; wantsBytes: number },
  snapBytes: number | undefined,
): string | undefined {
  if (packets === 0) return undefined;
  const were = packets === 1 ? '1 packet was' : `${packets} packets were`;
  const missed = `${were} captured shorter than the filter reads, up to byte ${wantsBytes} from the IP header on, and not matched`;
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
