/** A packet's bytes from its IP header on, as captured at a hook: as many as the follower with the largest snap length asked for. */
export interface Captured {
  bytes: Uint8Array;
  /** So many of them are headers, which every follower may see. */
  headerBytes: number;
}

/** What a follower sees of them: the headers, and no more than its own snap length (0: none was asked for). */
export function seenBytes({ bytes, headerBytes }: Captured, snapBytes: number): Uint8Array {
  return bytes.subarray(0, Math.max(headerBytes, snapBytes));
}

/** What a follower sees of each, once where it sees the same. */
export function distinctBytes(captured: readonly Captured[], snapBytes: number): Uint8Array[] {
  const distinct: Uint8Array[] = [];
  for (const one of captured) {
    const bytes = seenBytes(one, snapBytes);
    if (bytes.length > 0 && !distinct.some((known) => Buffer.compare(known, bytes) === 0)) distinct.push(bytes);
  }
  return distinct;
}
