import { type Captured, seenBytes } from '../../event/captured.ts';
import type { PacketEvent } from '../../event/types.ts';
import type { AssembledPacket } from '../../flow/open-packet.ts';

/** The packet's record with the bytes that a follower sees of it: at the first hop, and at each where they are others than before. */
export function withData({ event, hopCaptured }: Pick<AssembledPacket, 'event' | 'hopCaptured'>, snapBytes: number): PacketEvent {
  let before: Uint8Array = new Uint8Array(0);
  const hops = event.hops.map((hop, index) => {
    const bytes = seenBytes(hopCaptured[index] ?? NOTHING, snapBytes);
    if (Buffer.compare(before, bytes) === 0) return hop;
    before = bytes;
    return { ...hop, data: Buffer.from(bytes).toString('base64') };
  });
  return { ...event, hops };
}

const NOTHING: Captured = { bytes: new Uint8Array(0), headerBytes: 0 };
