import type { KtraceEvent } from '../../event/types.ts';

/** Of a packet's bytes as they were at its hooks: the first, and where NAT changed them one after it. */
const MOST_HEADERS = 2;

/** The record with the bytes of its headers, for recordings and captures; the one it was where there are none. */
export function withHeaders<E extends KtraceEvent>(event: E, captured: readonly Uint8Array[] | undefined): E {
  if (event.kind !== 'packet' || captured === undefined || captured.length === 0) return event;
  return { ...event, headers: captured.slice(0, MOST_HEADERS).map((bytes) => Buffer.from(bytes).toString('base64')) };
}

/**
 * As a recording has it: a second header as what differs from the first, `PLACE:BASE64` and more of them with commas between, where that is shorter. On
 * their way through a node most packets change no more than their TTL.
 */
export function patched<E extends KtraceEvent>(event: E): E {
  if (event.kind !== 'packet' || event.headers?.length !== 2) return event;
  const [first = '', second = ''] = event.headers;
  const patch = patchOf(Buffer.from(first, 'base64'), Buffer.from(second, 'base64'));
  return patch === undefined || patch === '' || patch.length >= second.length ? event : { ...event, headers: [first, patch] };
}

/** The record as it was before {@link patched}; one that an older agent wrote is left as it is. */
export function unpatched<E extends KtraceEvent>(event: E): E {
  if (event.kind !== 'packet' || event.headers?.[1]?.includes(':') !== true) return event;
  const [first = '', patch = ''] = event.headers;
  const bytes = Buffer.from(first, 'base64');
  for (const piece of patch.split(',')) {
    const colon = piece.indexOf(':');
    Buffer.from(piece.slice(colon + 1), 'base64').copy(bytes, Number(piece.slice(0, colon)));
  }
  return { ...event, headers: [first, bytes.toString('base64')] };
}

/** Undefined where they are not of one length. */
function patchOf(from: Buffer, to: Buffer): string | undefined {
  if (from.length !== to.length) return undefined;
  const pieces: string[] = [];
  for (let at = 0; at < to.length; at++) {
    const begin = at;
    while (at < to.length && from[at] !== to[at]) at++;
    if (at > begin) pieces.push(`${begin}:${to.subarray(begin, at).toString('base64')}`);
  }
  return pieces.join();
}
