import type {
  Endpoint,
  FlowEvent,
  Hop,
  KtraceEvent,
  LostEvent,
  LostStage,
  NoticeEvent,
  PacketEvent,
  QuotedFlow,
  Translation,
} from '../event/types.ts';
import type { Scope } from './scope.ts';

/**
 * An event as somebody may see it; undefined when they may not. A packet or flow is shown if one of its ends, before or after
 * translation or quoted, lies in an allowed namespace. Of an end elsewhere only the address and port stay: name, labels, uid,
 * owner, Service, chains and quoted flow are withheld; of a pod's interface there the name, which some pod networks make out of the pod's. Notices
 * are the node's own; the names of pods' interfaces in them are withheld, whosever they are. So are the losses of a whole node the node's own. One of a pod's
 * records is shown where the pod is.
 * The event itself is not changed; it is given back as it is when nothing is to be withheld.
 */
export function redact(event: KtraceEvent, allowed: Scope): KtraceEvent | undefined {
  if (allowed === 'all') return event;
  if (event.kind === 'notice') return redactNotice(event);
  if (event.kind === 'lost') return redactLost(event, allowed);
  if (!isShown(event, allowed)) return undefined;
  const ends = {
    src: redactEnd(event.src, allowed),
    dst: redactEnd(event.dst, allowed),
    ...(event.nat === undefined ? {} : { nat: event.nat.map((one) => redactTranslation(one, allowed)) }),
  };
  return event.kind === 'flow' ? { ...event, ...ends } : redactQuoted(redactPlaces({ ...event, ...ends }, allowed), allowed);
}

type Namespaces = Exclude<Scope, 'all'>;

function redactNotice(event: NoticeEvent): NoticeEvent {
  if (event.interfaces === undefined) return event;
  const { interfaces: _withheld, ...rest } = event;
  return rest;
}

/** Whose sightings and records a stage loses: of one pod each, though it is not always known which, or of all that the node tells. */
const LOSES: Record<LostStage, 'of a pod' | 'of a node'> = {
  'kernel-ring': 'of a node',
  'flow-table': 'of a node',
  'pod-rate': 'of a pod',
  'kernel-recursion': 'of a node',
  'client-socket': 'of a node',
  recorder: 'of a node',
  'recorder-share': 'of a pod',
};

/** How much was cut of one pod, or of an address that is nobody's, tells how much traffic it has: as with packets, a name without labels proves nothing. */
function redactLost(event: LostEvent, allowed: Namespaces): LostEvent | undefined {
  if (event.pod !== undefined) return liesIn({ ip: '', pod: event.pod }, allowed) ? event : undefined;
  return LOSES[event.stage] === 'of a node' ? event : undefined;
}

function isShown(event: PacketEvent | FlowEvent, allowed: Namespaces): boolean {
  const isOne = (end: Endpoint): boolean => liesIn(end, allowed);
  if (isOne(event.src) || isOne(event.dst)) return true;
  if (event.nat?.some(({ before, after }) => isOne(before) || isOne(after))) return true;
  const about = event.kind === 'packet' ? event.icmp?.about : undefined;
  return about !== undefined && isQuotedShown(about, allowed);
}

/**
 * A pod without labels was named by an EndpointSlice alone. Who may write one in a namespace could claim any address for it:
 * such a name makes nothing visible.
 */
function liesIn({ pod, service }: Endpoint, allowed: Namespaces): boolean {
  if (pod !== undefined) return pod.labels !== undefined && allowed.has(pod.namespace);
  return service !== undefined && allowed.has(service.namespace);
}

function isQuotedShown({ src, dst, nat }: QuotedFlow, allowed: Namespaces): boolean {
  const isOne = (end: Endpoint): boolean => liesIn(end, allowed);
  return isOne(src) || isOne(dst) || nat?.some(({ before, after }) => isOne(before) || isOne(after)) === true;
}

function redactEnd(end: Endpoint, allowed: Namespaces): Endpoint {
  const owner = end.pod ?? end.service;
  if (owner === undefined || allowed.has(owner.namespace)) return end;
  return end.port === undefined ? { ip: end.ip } : { ip: end.ip, port: end.port };
}

/** Chains are named after their Service: they go with it, and where no Service is named they stay only between shown ends. */
function redactTranslation(one: Translation, allowed: Namespaces): Translation {
  const { service, chains, ...rest } = one;
  const before = redactEnd(one.before, allowed);
  const after = redactEnd(one.after, allowed);
  const isWithheld = service === undefined ? before !== one.before || after !== one.after : !allowed.has(namespaceOf(service));
  if (isWithheld) return { ...rest, before, after };
  return { ...one, before, after };
}

/** Of `namespace/name` or `namespace/name:port`; empty where it is not known. */
function namespaceOf(name: string): string {
  return name.slice(0, Math.max(0, name.indexOf('/')));
}

/** Where it was seen, dropped and refused: an interface that leads to a pod of another namespace, or to one that is not known, is only `pod`. */
function redactPlaces(event: PacketEvent, allowed: Namespaces): PacketEvent {
  const { drop, icmp } = event;
  return {
    ...event,
    hops: event.hops.map((hop) => redactPlace(hop, allowed)),
    ...(drop === undefined ? {} : { drop: redactPlace(drop, allowed) }),
    ...(icmp?.by === undefined ? {} : { icmp: { ...icmp, by: redactPlace(icmp.by, allowed) } }),
  };
}

function redactPlace<T extends { if?: string; pod?: string }>(place: T, allowed: Namespaces): T {
  if (place.pod === undefined || allowed.has(namespaceOf(place.pod))) return place;
  const { pod: _withheld, ...rest } = place;
  return { ...rest, if: 'pod' } as T;
}

/** A quoted flow that is nobody's whom the reader may see is withheld, and with it the bytes that hold it. */
function redactQuoted(event: PacketEvent, allowed: Namespaces): PacketEvent {
  const about = event.icmp?.about;
  if (event.icmp === undefined || about === undefined) return event;
  if (isQuotedShown(about, allowed)) {
    const quoted = {
      ...about,
      src: redactEnd(about.src, allowed),
      dst: redactEnd(about.dst, allowed),
      ...(about.nat === undefined ? {} : { nat: about.nat.map((one) => redactTranslation(one, allowed)) }),
    };
    return { ...event, icmp: { ...event.icmp, about: quoted } };
  }
  const { about: _withheld, ...icmp } = event.icmp;
  const { headers: _headers, ...rest } = event;
  return { ...rest, icmp, hops: event.hops.map(withoutData) };
}

function withoutData({ data: _withheld, ...hop }: Hop): Hop {
  return hop;
}
