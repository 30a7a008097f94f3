import assert from 'node:assert/strict';
import type { Endpoint, PacketEvent } from '../../../src/event/types.ts';

/** `NODE/INTERFACE DIRECTION` of every hop. */
export function hopNames(packet: PacketEvent | undefined): string[] {
  return (packet?.hops ?? []).map((hop) => `${hop.node}/${hop.if} ${hop.dir}`);
}

/** All whom a packet speaks of. */
export function endpoints({ src, dst, nat, icmp }: PacketEvent): Endpoint[] {
  const about = icmp?.about === undefined ? [] : [icmp.about.src, icmp.about.dst];
  return [src, dst, ...(nat ?? []).flatMap(({ before, after }) => [before, after]), ...about];
}

export function isNamed(endpoint: Endpoint | undefined, pod: string): boolean {
  return endpoint?.pod?.name === pod;
}

/** Is this a packet to a Service of the default namespace, as its client sent it? */
export function isRequestTo({ dst, dir }: PacketEvent, service: string): boolean {
  return dir === 'request' && dst.service?.namespace === 'default' && dst.service.name === service;
}

/**
 * No id is told twice but to amend it, nothing is amended that was not told, and no packet has two ids: one that was seen at the
 * same place, at the same nanosecond, with the same content. Two that are equal but for their time are two packets: a kernel answers each late segment
 * with the same reset. Where something was lost, what is amended may be it: `mayBeLost` says of which packets.
 */
export function assertNothingTwice(
  packets: readonly PacketEvent[],
  mayBeLost: (packet: PacketEvent) => boolean = () => false,
): void {
  const told = new Set<string>();
  const sights = new Map<string, PacketEvent>();
  for (const packet of packets) {
    if (packet.amends === true) continue;
    assert.ok(!told.has(packet.id), `told twice: ${JSON.stringify(packet)}`);
    told.add(packet.id);
    for (const key of sightsOf(packet)) {
      const other = sights.get(key);
      assert.equal(other, undefined, `one packet as two:\n${JSON.stringify(other)}\n${JSON.stringify(packet)}`);
      sights.set(key, packet);
    }
  }
  const beganAt = packets.find(({ amends }) => amends === undefined)?.time ?? '';
  for (const packet of packets) {
    if (packet.amends === true && packet.time >= beganAt && !mayBeLost(packet))
      assert.ok(told.has(packet.id), `amends nothing: ${JSON.stringify(packet)}`);
  }
}

function sightsOf({ time, fingerprint, src, dst, tcp, icmp, fragment, hops }: PacketEvent): string[] {
  const content = [fingerprint, src.ip, src.port, dst.ip, dst.port, tcp?.seq, tcp?.flags, icmp?.id, icmp?.seq, fragment?.offset];
  return hops.map((hop) => `${content.join(' ')} ${hop.node}/${hop.if} ${hop.dir} ${nsOf(time) + BigInt(Math.round(hop.atNs))}`);
}

/** As a Date has it, and the rest of the fraction. */
function nsOf(time: string): bigint {
  const [, seconds = '', fraction = ''] = /^(.*?)(?:\.(\d+))?Z$/.exec(time) ?? [];
  return BigInt(Date.parse(`${seconds}Z`)) * 1_000_000n + BigInt(fraction.padEnd(9, '0'));
}
