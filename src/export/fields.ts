import type { FlowEvent, LostEvent, LostStage, NoticeEvent, PacketEvent } from '../event/types.ts';
import { type End, endsOf } from './ends.ts';

/** Records that were lost on the way to the collector have a stage of their own. */
export type ExportedLost = Omit<LostEvent, 'stage'> & { stage: LostStage | 'export' };

/** What an attribute is made from: the record, and its ends where it has some. */
export type Exported = PacketEvent | FlowEvent | ExportedLost | NoticeEvent;

export type FieldValue = string | number | boolean | readonly string[] | undefined;

/** An attribute of a log record. `of` gives undefined where it does not apply; numbers are whole. */
export interface Field<From> {
  name: string;
  type: 'string' | 'int' | 'boolean' | 'string[]';
  /** One line of `docs/export.md`. */
  text: string;
  of(from: From): FieldValue;
}

/** A packet or flow with its ends, found once for all of its fields. */
export interface WithEnds<Event extends PacketEvent | FlowEvent> {
  event: Event;
  source: End;
  destination: End;
}

export function withEnds<Event extends PacketEvent | FlowEvent>(event: Event): WithEnds<Event> {
  return { event, ...endsOf(event) };
}

const TRANSPORTS = new Set(['tcp', 'udp', 'sctp']);

function endFields(side: 'source' | 'destination', whose: string): Field<WithEnds<PacketEvent | FlowEvent>>[] {
  return [
    { name: `${side}.address`, type: 'string', text: `${whose} before translation`, of: (from) => from[side].wire.ip },
    { name: `${side}.port`, type: 'int', text: 'its port; none for ICMP', of: (from) => from[side].wire.port },
    {
      name: `ktrace.${side}.translated.address`,
      type: 'string',
      text: 'what NAT makes of the address',
      of: (from) => from[side].translated?.ip,
    },
    {
      name: `ktrace.${side}.translated.port`,
      type: 'int',
      text: 'what NAT makes of the port',
      of: (from) => from[side].translated?.port,
    },
    {
      name: `ktrace.${side}.k8s.namespace.name`,
      type: 'string',
      text: "the pod's or the Service's namespace",
      of: (from) => from[side].owner.pod?.namespace ?? from[side].service?.namespace,
    },
    {
      name: `ktrace.${side}.k8s.pod.name`,
      type: 'string',
      text: 'the pod whose end it is; behind a Service, the endpoint',
      of: (from) => from[side].owner.pod?.name,
    },
    { name: `ktrace.${side}.k8s.pod.uid`, type: 'string', text: "that pod's uid", of: (from) => from[side].owner.pod?.uid },
    {
      name: `ktrace.${side}.k8s.pod.gone`,
      type: 'string',
      text: "since when the address is no longer that pod's, nor anybody's, RFC 3339",
      of: (from) => from[side].owner.pod?.gone,
    },
    {
      name: `ktrace.${side}.k8s.owner`,
      type: 'string',
      text: "that pod's workload, e.g. `Deployment/web`",
      of: (from) => from[side].owner.pod?.owner,
    },
    {
      name: `ktrace.${side}.k8s.node.name`,
      type: 'string',
      text: "that pod's node, or the node whose own address it is",
      of: (from) => from[side].owner.pod?.node ?? from[side].owner.node,
    },
    {
      name: `ktrace.${side}.k8s.service.name`,
      type: 'string',
      text: 'the Service that it is addressed as',
      of: (from) => from[side].service?.name,
    },
    {
      name: `ktrace.${side}.world`,
      type: 'boolean',
      text: '`true` where nobody in the cluster owns the address',
      of: (from) => from[side].owner.world,
    },
  ];
}

/** Of flows and drops alike. */
export const END_FIELDS: readonly Field<WithEnds<PacketEvent | FlowEvent>>[] = [
  {
    name: 'network.transport',
    type: 'string',
    text: '`tcp`, `udp` or `sctp`',
    of: ({ event }) => (TRANSPORTS.has(event.proto) ? event.proto : undefined),
  },
  {
    name: 'network.type',
    type: 'string',
    text: '`ipv4` or `ipv6`',
    of: ({ event }) => (event.src.ip.includes(':') ? 'ipv6' : 'ipv4'),
  },
  {
    name: 'ktrace.protocol',
    type: 'string',
    text: '`tcp`, `udp`, `sctp`, `icmp`, `icmp6` or a protocol number',
    of: ({ event }) => event.proto,
  },
  ...endFields('source', 'of who began the flow, or sent the packet,'),
  ...endFields('destination', 'of whom it was sent to,'),
  {
    name: 'ktrace.nat.chains',
    type: 'string[]',
    text: "kube-proxy's chains that translate it, in the order of the packet",
    of: ({ event }) => event.nat?.flatMap(({ chains }) => chains ?? []),
  },
];

export const FLOW_FIELDS: readonly Field<WithEnds<FlowEvent>>[] = [
  {
    name: 'ktrace.flow.id',
    type: 'string',
    text: "the same in all of a flow's records of one node",
    of: ({ event }) => event.id,
  },
  { name: 'ktrace.flow.state', type: 'string', text: '`open`, `update` or `close`', of: ({ event }) => event.state },
  {
    name: 'ktrace.flow.start_time',
    type: 'string',
    text: 'of its first packet, RFC 3339',
    of: ({ event }) => event.startTime,
  },
  {
    name: 'ktrace.flow.request.packets',
    type: 'int',
    text: 'packets from source to destination since the start',
    of: ({ event }) => countOf(event, event.packets.request),
  },
  {
    name: 'ktrace.flow.request.bytes',
    type: 'int',
    text: 'their bytes, from L3',
    of: ({ event }) => countOf(event, event.bytes.request),
  },
  {
    name: 'ktrace.flow.reply.packets',
    type: 'int',
    text: 'packets from destination to source since the start',
    of: ({ event }) => countOf(event, event.packets.reply),
  },
  {
    name: 'ktrace.flow.reply.bytes',
    type: 'int',
    text: 'their bytes, from L3',
    of: ({ event }) => countOf(event, event.bytes.reply),
  },
];

function countOf({ counted }: FlowEvent, count: number): number | undefined {
  return counted === false ? undefined : count;
}

export const DROP_FIELDS: readonly Field<WithEnds<PacketEvent>>[] = [
  {
    name: 'ktrace.drop.reason',
    type: 'string',
    text: "the kernel's reason, e.g. `NETFILTER_DROP`",
    of: ({ event }) => event.drop?.reason,
  },
  {
    name: 'ktrace.drop.symbol',
    type: 'string',
    text: 'the kernel function that dropped it',
    of: ({ event }) => event.drop?.at,
  },
  { name: 'network.interface.name', type: 'string', text: 'where it was dropped', of: ({ event }) => event.drop?.if },
  {
    name: 'ktrace.packet.id',
    type: 'string',
    text: 'of the packet; a later record of the same id tells more of it',
    of: ({ event }) => event.id,
  },
  { name: 'ktrace.packet.length', type: 'int', text: 'bytes from L3', of: ({ event }) => event.len },
  {
    name: 'ktrace.packet.direction',
    type: 'string',
    text: '`request`: from who began the conversation; `reply`: to them',
    of: ({ event }) => event.dir,
  },
  {
    name: 'ktrace.packet.hops',
    type: 'string[]',
    text: 'the interfaces that it crossed before, e.g. `veth1a2b3c4d in`',
    of: ({ event }) => event.hops.map((hop) => `${hop.if} ${hop.dir}`),
  },
  {
    name: 'ktrace.tcp.flags',
    type: 'string',
    text: 'letters of F S R P A U E C',
    of: ({ event }) => event.tcp?.flags,
  },
  { name: 'ktrace.icmp.name', type: 'string', text: 'e.g. `echo-request`', of: ({ event }) => event.icmp?.name },
];

export const LOST_FIELDS: readonly Field<ExportedLost>[] = [
  {
    name: 'ktrace.lost.stage',
    type: 'string',
    text: '`kernel-ring`, `flow-table`, `pod-rate`: sightings, by the kernel; `kernel-recursion`: program runs; `export`: log records, on their way to the collector',
    of: (event) => event.stage,
  },
  { name: 'ktrace.lost.count', type: 'int', text: 'how many', of: (event) => event.count },
  { name: 'ktrace.lost.from_time', type: 'string', text: 'since when, RFC 3339', of: (event) => event.from },
  { name: 'ktrace.lost.to_time', type: 'string', text: 'until when, RFC 3339', of: (event) => event.to },
];

export const NOTICE_FIELDS: readonly Field<NoticeEvent>[] = [
  { name: 'ktrace.notice.code', type: 'string', text: 'see [errors.md](errors.md)', of: (event) => event.code },
  {
    name: 'ktrace.notice.interfaces',
    type: 'string[]',
    text: "pods' interfaces that it is about, the first hundred",
    of: (event) => event.interfaces,
  },
];

/**
 * Which records have which attributes: what `docs/export.md` tells.
 * @internal A test holds the page against it.
 */
export const FIELD_TABLES: readonly { records: string; fields: readonly Omit<Field<never>, 'of'>[] }[] = [
  { records: '`ktrace.flow` and `ktrace.drop`', fields: END_FIELDS },
  { records: '`ktrace.flow`', fields: FLOW_FIELDS },
  { records: '`ktrace.drop`', fields: DROP_FIELDS },
  { records: '`ktrace.lost`', fields: LOST_FIELDS },
  { records: '`ktrace.notice`', fields: NOTICE_FIELDS },
];
