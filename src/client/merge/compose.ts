import type { Endpoint, Hop, IcmpFacts, PacketEvent, Translation } from '../../event/types.ts';
import type { Part } from './packet.ts';

/**
 * One record of a packet out of its parts, given in the order the packet went. The first part says where it came from, the last how it ended;
 * hops name their nodes and are timed from the first part's beginning; each end carries the richest name any node knows for it.
 */
export function compose(parts: Part[], id: string): PacketEvent {
  const first = parts[0];
  if (first === undefined) throw new RangeError('Expected at least one part');
  const names = new NameBook(parts);
  const { amends: _, nat: __, drop: ___, judged: ____, wantsBytes: _____, unanswered: ______, ...base } = first.event;
  const nat = joinNat(parts, names);
  const drop = parts.find(({ event }) => event.drop !== undefined)?.event.drop;
  const last = parts[parts.length - 1]?.event ?? first.event;
  const vlan = parts.find(({ event }) => event.vlan !== undefined)?.event.vlan;
  return {
    ...base,
    id,
    nodes: [...new Set(parts.flatMap(({ event }) => event.nodes))],
    src: names.named(base.src),
    dst: names.named(base.dst),
    ...(base.icmp === undefined ? {} : { icmp: joinIcmp(base.icmp, parts, names) }),
    ...(vlan === undefined ? {} : { vlan }),
    ...(nat.length === 0 ? {} : { nat }),
    hops: joinHops(parts),
    ...headersOf(parts),
    ...(drop === undefined ? joinUnanswered(parts) : { drop }),
    verdict: drop === undefined ? last.verdict : 'dropped',
  };
}

/** The packet's bytes as they were at its first hop and at its last. */
function headersOf(parts: Part[]): Pick<PacketEvent, 'headers'> {
  const all = [...new Set(parts.flatMap(({ event }) => event.headers ?? []))];
  const [first, last] = [all[0], all.at(-1)];
  if (first === undefined || last === undefined) return {};
  return { headers: first === last ? [first] : [first, last] };
}

function joinHops(parts: Part[]): Hop[] {
  const startNs = parts[0]?.firstNs ?? 0;
  const startAtNs = parts[0]?.event.hops[0]?.atNs ?? 0;
  const hops: Hop[] = [];
  for (const part of parts) {
    const ownStart = part.event.hops[0]?.atNs ?? 0;
    const previous = hops.at(-1)?.atNs ?? 0;
    // Clocks may still be a little apart: no node's part begins before the one before it ended.
    const begin = hops.length === 0 ? startAtNs : Math.max(previous, Math.round(part.firstNs - startNs + startAtNs));
    for (const hop of part.event.hops) hops.push({ ...hop, atNs: begin + hop.atNs - ownStart });
  }
  return hops;
}

function joinNat(parts: Part[], names: NameBook): Translation[] {
  const seen = new Map<string, Translation>();
  for (const { event } of parts) {
    for (const translation of event.nat ?? []) {
      const { kind, before, after } = translation;
      const key = `${kind} ${before.ip} ${before.port ?? ''} ${after.ip} ${after.port ?? ''}`;
      const named = { ...translation, before: names.named(before), after: names.named(after) };
      const known = seen.get(key);
      // One node names the Service, another has seen it done: each adds what it knows.
      if (known === undefined) seen.set(key, named);
      else seen.set(key, known.seenBy === 'kprobe' ? { ...named, ...known } : { ...known, ...named });
    }
  }
  return [...seen.values()];
}

/** An answer missing anywhere is missing. */
function joinUnanswered(parts: Part[]): Pick<PacketEvent, 'unanswered'> {
  const all = parts.flatMap(({ event }) => event.unanswered ?? []);
  if (all.length === 0) return {};
  const ms = Math.max(...all.map((one) => one.ms));
  const retransmissions = Math.max(...all.map((one) => one.retransmissions ?? 0));
  return { unanswered: retransmissions === 0 ? { ms } : { ms, retransmissions } };
}

/** The round trip seen from furthest away is the requester's. */
function joinIcmp(base: IcmpFacts, parts: Part[], names: NameBook): IcmpFacts {
  const facts = parts.flatMap(({ event }) => (event.icmp === undefined ? [] : [event.icmp]));
  const rtts = facts.flatMap(({ rttUs }) => rttUs ?? []);
  return {
    ...base,
    ...(rtts.length === 0 ? {} : { rttUs: Math.max(...rtts) }),
    ...joinError(facts, names),
  };
}

/** The node that translated the packet which an error is about knows most of it; who made the error was seen, or has the address it came from. */
function joinError(facts: IcmpFacts[], names: NameBook): Pick<IcmpFacts, 'about' | 'by'> {
  const quoted = facts.flatMap(({ about }) => about ?? []);
  const about = quoted.find(({ nat }) => nat !== undefined) ?? quoted[0];
  const origins = facts.flatMap(({ by }) => by ?? []);
  const by = origins.find(({ seenBy }) => seenBy === 'kprobe') ?? origins[0];
  if (about === undefined) return by === undefined ? {} : { by };
  const nat = about.nat?.map((one) => ({ ...one, before: names.named(one.before), after: names.named(one.after) }));
  return {
    about: { ...about, src: names.named(about.src), dst: names.named(about.dst), ...(nat === undefined ? {} : { nat }) },
    ...(by === undefined ? {} : { by }),
  };
}

/** The best name that any part has for an address; a Service's for address and port. */
class NameBook {
  readonly #best = new Map<string, Endpoint>();

  constructor(parts: Part[]) {
    if (parts.length < 2) return;
    for (const { event } of parts) {
      for (const endpoint of endsOf(event)) {
        const key = keyOf(endpoint);
        if (rank(endpoint) > rank(this.#best.get(key))) this.#best.set(key, endpoint);
      }
    }
  }

  named(endpoint: Endpoint): Endpoint {
    const best = this.#best.get(keyOf(endpoint));
    return rank(best) > rank(endpoint) && best !== undefined ? best : endpoint;
  }
}

function endsOf({ src, dst, nat, icmp }: PacketEvent): Endpoint[] {
  const about = icmp?.about;
  const translations = [...(nat ?? []), ...(about?.nat ?? [])];
  return [
    src,
    dst,
    ...(about === undefined ? [] : [about.src, about.dst]),
    ...translations.flatMap(({ before, after }) => [before, after]),
  ];
}

function keyOf({ ip, port }: Endpoint): string {
  return `${ip} ${port ?? ''}`;
}

function rank(endpoint: Endpoint | undefined): number {
  if (endpoint === undefined) return 0;
  if (endpoint.pod !== undefined) return endpoint.pod.labels === undefined ? 4 : 5;
  if (endpoint.service !== undefined || endpoint.node !== undefined) return 3;
  return endpoint.world === true ? 1 : 2;
}
