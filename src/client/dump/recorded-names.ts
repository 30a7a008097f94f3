import { endsOf } from '../../event/ends.ts';
import { goneSince, RETENTION_MS } from '../../event/gone.ts';
import type { KtraceEvent, PodRef } from '../../event/types.ts';
import type { Asked } from './dump-nodes.ts';

interface Interval {
  pod: PodRef;
  fromMs: number;
  toMs: number;
}

/**
 * Who had which address when, as all nodes' recordings say together. A node can name the pods of others only where an EndpointSlice does, so that of a
 * record that it alone has, the other end is without a name.
 */
export class RecordedNames {
  readonly #byIp = new Map<string, Interval[]>();

  constructor(asked: readonly Asked[]) {
    for (const { access, answer } of asked) {
      for (const { namespace, name, uid, ips, fromMs, toMs = Infinity } of answer?.pods ?? []) {
        const interval = { pod: { namespace, name, uid, node: access.node }, fromMs, toMs };
        for (const ip of ips) this.#byIp.set(ip, [...(this.#byIp.get(ip) ?? []), interval]);
      }
    }
  }

  /** Fills in, in place, the pods of ends that the record's own node could not name. */
  name(event: KtraceEvent): void {
    if (event.kind !== 'packet' && event.kind !== 'flow') return;
    let timeMs: number | undefined;
    for (const end of endsOf(event)) {
      if (end.pod !== undefined || end.service !== undefined || end.node !== undefined) continue;
      const intervals = this.#byIp.get(end.ip);
      if (intervals === undefined) continue;
      timeMs ??= Date.parse(event.kind === 'packet' ? event.time : event.startTime);
      const pod = podAt(intervals, timeMs);
      if (pod === undefined) continue;
      delete end.world;
      end.pod = pod;
    }
  }
}

/** Who had it then, else who had it last, as the agents name their own records. */
function podAt(intervals: readonly Interval[], timeMs: number): PodRef | undefined {
  let last: Interval | undefined;
  for (const one of intervals) {
    if (timeMs < one.fromMs || timeMs > one.toMs + RETENTION_MS) continue;
    if (last === undefined || one.toMs > last.toMs) last = one;
  }
  if (last === undefined) return undefined;
  const gone = goneSince(last.toMs, timeMs);
  return gone === undefined ? last.pod : { ...last.pod, gone };
}
