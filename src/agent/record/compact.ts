import type { KtraceEvent, PacketEvent, TcpFacts } from '../../event/types.ts';
import { base36 } from '../../flow/base36.ts';
import { fingerprintOf } from '../../flow/fingerprint.ts';

/** An event as a recording has it: the numbers of a TCP segment may be in its header alone. */
export type CompactEvent =
  | Exclude<KtraceEvent, PacketEvent>
  | (Omit<PacketEvent, 'tcp'> & { tcp?: Pick<TcpFacts, 'flags'> & Partial<TcpFacts> });

/** IANA protocol number. */
const TCP = 6;
/** Of an IPv6 header, RFC 8200. */
const IP6_BYTES = 40;

/**
 * Without what the headers say as well: of a TCP segment `seq` and `ack`, and what `fingerprint` is made of; of the second header what is as in the first.
 * The second is `PLACE:BASE64`, and more of them with commas between, where that is shorter: on their way through a node most packets change no more
 * than their TTL.
 */
export function compact(event: KtraceEvent): CompactEvent {
  if (event.kind !== 'packet' || event.headers === undefined) return event;
  const { headers, tcp } = event;
  const [first, second] = headers;
  if (first === undefined || (second === undefined && tcp === undefined)) return event;
  const bytes = Buffer.from(first, 'base64');
  const result: CompactEvent = { ...event };
  const patch = second === undefined ? '' : patchOf(bytes, Buffer.from(second, 'base64'));
  if (second !== undefined && patch !== '' && patch.length < second.length) result.headers = [first, patch];
  const told = tcp === undefined ? undefined : segmentOf(bytes);
  if (tcp !== undefined && told !== undefined && told.seq === tcp.seq && told.ack === tcp.ack) {
    result.tcp = { flags: tcp.flags };
    if (told.fingerprint() === event.fingerprint) result.fingerprint = '';
  }
  return result;
}

/** The record as it was before {@link compact}, and what an older agent wrote as it is. */
export function restored(event: CompactEvent): KtraceEvent {
  if (event.kind !== 'packet') return event;
  const { headers = [], tcp, fingerprint } = event;
  const [first, patch] = headers;
  const isPatched = patch?.includes(':') === true;
  const isWhole = tcp === undefined || tcp.seq !== undefined;
  if (first === undefined || (!isPatched && isWhole)) return event as PacketEvent;
  const bytes = Buffer.from(first, 'base64');
  const result = { ...event } as PacketEvent;
  const told = isWhole ? undefined : segmentOf(bytes);
  if (tcp !== undefined && told !== undefined) {
    result.tcp = { flags: tcp.flags, seq: told.seq, ack: told.ack };
    if (fingerprint === '') result.fingerprint = told.fingerprint();
  }
  if (isPatched) result.headers = [first, applied(bytes, patch).toString('base64')];
  return result;
}

/** Of a TCP segment that begins right behind its IP header; undefined where it does not, or the bytes end before. */
function segmentOf(bytes: Buffer): { seq: number; ack: number; fingerprint(): string } | undefined {
  const version = (bytes[0] ?? 0) >> 4;
  const [protocol, at] = version === 4 ? [bytes[9], ((bytes[0] ?? 0) & 0x0f) * 4] : [bytes[6], IP6_BYTES];
  if ((version !== 4 && version !== 6) || protocol !== TCP || bytes.length < at + 14) return undefined;
  const [seq, ack, flags] = [bytes.readUInt32BE(at + 4), bytes.readUInt32BE(at + 8), bytes.readUInt8(at + 13)];
  const ipId = version === 4 ? bytes.readUInt16BE(4) : 0;
  const segment = { proto: TCP, ipId, fragment: undefined, tcp: { flags, seq, ack }, icmp: undefined, payloadHash: 0 };
  return { seq, ack, fingerprint: () => base36(fingerprintOf(segment)) };
}

/** Empty where they are alike, or not of one length. */
function patchOf(from: Buffer, to: Buffer): string {
  if (from.length !== to.length) return '';
  const pieces: string[] = [];
  for (let at = 0; at < to.length; at++) {
    const begin = at;
    while (at < to.length && from[at] !== to[at]) at++;
    if (at > begin) pieces.push(`${begin}:${to.subarray(begin, at).toString('base64')}`);
  }
  return pieces.join();
}

function applied(bytes: Buffer, patch: string): Buffer {
  for (const piece of patch.split(',')) {
    const colon = piece.indexOf(':');
    Buffer.from(piece.slice(colon + 1), 'base64').copy(bytes, Number(piece.slice(0, colon)));
  }
  return bytes;
}
