import type { Place } from '../../store/segment-reader.ts';
import { KtraceError } from '../../util/errors.ts';

/** A damaged piece of a recording. */
export interface Damage {
  /** Of the file in the recording's folder, of an incident's in that of incidents. */
  name: string;
  at: number;
  bytes: number;
}

export interface Places {
  share: Place;
  excess: Place;
}

/** Where reading a recording goes on, as text. */
export function textOf({ share, excess }: Places): string {
  return [share.segment, share.byte, excess.segment, excess.byte].join(':');
}

/** Throws KTRACE_E_PROTOCOL where it is none. */
export function placesOf(text: string): Places {
  const [, share, shareByte, excess, excessByte] = /^([\w.-]*):(\d{1,15}):([\w.-]*):(\d{1,15})$/.exec(text) ?? [];
  if (share === undefined || excess === undefined) {
    throw new KtraceError('KTRACE_E_PROTOCOL', 'Expected a place of this recording for dump.after');
  }
  return { share: { segment: share, byte: Number(shareByte) }, excess: { segment: excess, byte: Number(excessByte) } };
}
