import type { Endpoint, FlowEvent, PacketEvent, Translation } from '../../event/types.ts';
import type { Direction, Fate, Owner } from '../language/ast.ts';
import { matchesGlob } from './globs.ts';

export type Told = PacketEvent | FlowEvent;

/** Does an end of the packet belong to whom the filter names? Ends are those before and after translation. */
export function isOwnedBy(told: Told, owner: Owner): boolean {
  return isAt(owner.direction, (side) => isEndOf(told, side, owner));
}

/** What was seen of the packet, as its record says it. A conversation has no interfaces and is not dropped. */
export function hasFate(told: Told, fate: Fate): boolean {
  const packet = told.kind === 'packet' ? told : undefined;
  switch (fate.kind) {
    case 'translated':
      return (told.nat?.length ?? 0) > 0;
    case 'dropped':
      return packet !== undefined && (packet.drop !== undefined || packet.verdict === 'dropped');
    case 'reason':
      return packet?.drop?.reason.toUpperCase() === fate.name;
    case 'iface':
      if (packet === undefined) return false;
      return packet.hops.some((hop) => matchesGlob(fate.pattern, hop.if)) || matchesGlob(fate.pattern, packet.drop?.if ?? '');
  }
}

type Side = 'src' | 'dst';

/** Which end a translation rewrites: on a reply a DNAT's way back rewrites the source. */
export function sideOf(told: Told, { kind }: Translation): Side {
  const isRequest = told.kind === 'flow' || told.dir === 'request';
  return (kind === 'dnat') === isRequest ? 'dst' : 'src';
}

function isAt(direction: Direction, holds: (side: Side) => boolean): boolean {
  if (direction === 'both') return holds('src') && holds('dst');
  return (direction !== 'dst' && holds('src')) || (direction !== 'src' && holds('dst'));
}

function isEndOf(told: Told, side: Side, owner: Owner): boolean {
  const translations = (told.nat ?? []).filter((one) => sideOf(told, one) === side);
  if (isOwner(told[side], owner) || translations.some(({ before, after }) => isOwner(before, owner) || isOwner(after, owner)))
    return true;
  return translations.some(({ service }) => service !== undefined && isService(service, owner));
}

function isOwner({ pod, service, node }: Endpoint, owner: Owner): boolean {
  switch (owner.kind) {
    case 'pod':
      return pod !== undefined && isNamed(pod, owner);
    case 'svc':
      return service !== undefined && isNamed(service, owner);
    case 'ns':
      return (pod ?? service)?.namespace === owner.name;
    case 'node':
      return (node ?? pod?.node) === owner.name;
    case 'label':
      return pod?.labels !== undefined && Object.hasOwn(pod.labels, owner.key) && pod.labels[owner.key] === owner.value;
  }
}

function isNamed(one: { namespace: string; name: string }, wanted: { namespace?: string; name: string }): boolean {
  return one.name === wanted.name && (wanted.namespace === undefined || one.namespace === wanted.namespace);
}

/** `namespace/name` or `namespace/name:port`. */
function isService(text: string, owner: Owner): boolean {
  const [namespace = '', rest = ''] = text.split('/', 2);
  if (owner.kind === 'ns') return namespace === owner.name;
  return owner.kind === 'svc' && isNamed({ namespace, name: rest.split(':', 1)[0] ?? '' }, owner);
}
