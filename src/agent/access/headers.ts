import type { KtraceEvent } from '../../event/types.ts';

/** Of a packet's bytes as they were at its hooks: the first, and where NAT changed them one after it. */
const MOST_HEADERS = 2;

/** The record with the bytes of its headers, for recordings and captures; the one it was where there are none. */
export function withHeaders<E extends KtraceEvent>(event: E, captured: readonly Uint8Array[] | undefined): E {
  if (event.kind !== 'packet' || captured === undefined || captured.length === 0) return event;
  return { ...event, headers: captured.slice(0, MOST_HEADERS).map((bytes) => Buffer.from(bytes).toString('base64')) };
}
