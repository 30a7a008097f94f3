import type { LinkLayer } from '../../event/link-layer.ts';
import { KtraceError } from '../../util/errors.ts';

/** A packet as it lies in a capture file. */
export interface CapturedPacket {
  /** Unix time. */
  timeNs: bigint;
  layer: LinkLayer;
  /** Number of its interface within the file, and the interface's name where the file has one (pcapng). */
  interfaceIndex: number;
  interfaceName: string | undefined;
  /** What was captured, from the link layer on. */
  bytes: Buffer;
  /** How long it was on the wire. */
  wireBytes: number;
}

/** Bytes that a record may have: more is damage. libpcap's largest snap length is 262,144; some writers go beyond. */
export const MAX_RECORD_BYTES = 16 * 1024 * 1024;

/** Link types by number (https://www.tcpdump.org/linktypes.html) that have IP packets and are read here. 12 and 14 are raw IP on some systems. */
const LAYERS: Record<number, LinkLayer> = {
  1: 'ethernet',
  12: 'raw',
  14: 'raw',
  101: 'raw',
  113: 'sll',
  228: 'ipv4',
  229: 'ipv6',
  276: 'sll2',
};

/** Throws KTRACE_E_CAPTURE_LINK_TYPE. */
export function layerOf(linkType: number): LinkLayer {
  const layer = LAYERS[linkType];
  if (layer !== undefined) return layer;
  throw new KtraceError(
    'KTRACE_E_CAPTURE_LINK_TYPE',
    `Expected packets of Ethernet, raw IP or Linux cooked capture (link types 1, 101, 113, 228, 229, 276), got link type ${linkType}`,
    { hint: 'Capture on an interface of a pod or a node, or on "any".' },
  );
}

/** KTRACE_E_CAPTURE_DAMAGED: what was expected at which byte of the file. Everything before it was told. */
export function damaged(at: number, message: string): KtraceError {
  return new KtraceError('KTRACE_E_CAPTURE_DAMAGED', `${message} at byte ${at} of the file`, {
    hint: 'All packets before this place were read.',
  });
}
