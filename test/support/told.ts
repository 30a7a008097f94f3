import type { PacketEvent } from '../../src/event/types.ts';
import { PATIENCE_MS, until } from './until.ts';

/** Each packet once, as it was told last: a packet may be told in parts, and amended. */
export function folded(tellings: readonly PacketEvent[]): PacketEvent[] {
  return [...new Map(tellings.map((packet) => [packet.id, packet])).values()];
}

export interface ToldOptions {
  /** Throws for a packet that is not, or not yet, as it must be. */
  check?(packet: PacketEvent): void;
  timeoutMs?: number;
  /** Says why there is nothing to wait for any more. */
  over?(): string | undefined;
}

/**
 * The first packet that is so, once the assertions hold for it: they are tried again with each telling. Throws the last failed assertion with all
 * tellings of that packet, or that there is no such packet.
 * @param tellings all that were told up to now, in order
 */
export async function toldPacket(
  what: string,
  tellings: () => readonly PacketEvent[],
  isIt: (packet: PacketEvent) => boolean,
  { check = () => undefined, timeoutMs = PATIENCE_MS, over = () => undefined }: ToldOptions = {},
): Promise<PacketEvent> {
  let failed: { error: unknown; id: string } | undefined;
  const attempt = (): PacketEvent | false => {
    const packet = folded(tellings()).find(isIt);
    if (packet === undefined) return false;
    try {
      check(packet);
      return packet;
    } catch (error) {
      failed = { error, id: packet.id };
      return false;
    }
  };
  try {
    return await until(
      what,
      () => {
        // What was told last comes before the end.
        const why = over();
        const packet = attempt();
        if (packet === false && why !== undefined) throw new Error(`${what}: ${why}`);
        return packet;
      },
      timeoutMs,
    );
  } catch (error) {
    throw failed === undefined ? error : withTellings(what, failed, tellings());
  }
}

function withTellings(what: string, { error, id }: { error: unknown; id: string }, tellings: readonly PacketEvent[]): unknown {
  if (!(error instanceof Error)) return error;
  const own = tellings.filter((packet) => packet.id === id).map((packet) => JSON.stringify(packet));
  error.message = `${what}: ${error.message}\nit was told ${own.length} times:\n${own.join('\n')}`;
  return error;
}
