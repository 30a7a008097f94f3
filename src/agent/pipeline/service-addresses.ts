import type { PacketEvent } from '../../event/types.ts';
import type { ServiceAddress } from '../../kube/index/types.ts';

/** By the list that they were made of: it is the same one until its follower's targets change. */
const byList = new WeakMap<readonly ServiceAddress[], ReadonlySet<string>>();

/**
 * Whether the packet died on its way to one of these addresses, before it was translated: whose it would have been nobody knows, so it is told to
 * whoever follows the Service or one of its pods.
 */
export function diedBefore(addresses: readonly ServiceAddress[], { verdict, nat, dst, proto }: PacketEvent): boolean {
  if (verdict !== 'dropped' || dst.port === undefined || nat?.some(({ kind }) => kind === 'dnat') === true) return false;
  let known = byList.get(addresses);
  if (known === undefined) {
    known = new Set(addresses.map((one) => key(one.ip, one.port, one.proto)));
    byList.set(addresses, known);
  }
  return known.has(key(dst.ip, dst.port, proto));
}

function key(ip: string, port: number, proto: string): string {
  return `${ip} ${port} ${proto}`;
}
