import { KtraceError } from '../util/errors.ts';
import type { Places } from './recording.ts';

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
