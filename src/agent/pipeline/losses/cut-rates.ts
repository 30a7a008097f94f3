import { RATE, RATE_CLASS, RATE_KEY } from '../../../event/layout.ts';
import { addressText } from '../../../util/address.ts';

/** Sightings of one pod that were not sent because it was over its rate. */
export interface Cut {
  /** Of the pod whose interface they came in at; undefined where the pod is known by its address. */
  ifindex: number | undefined;
  /** Of the followed end that they are charged to; undefined where they came in at a pod's interface. */
  ip: string | undefined;
  count: number;
}

/** What the kernel cut of whom, as differences between two readings of its map of rates (bpf/flow/rate.h). */
export class CutRates {
  #last = new Map<string, bigint>();

  /** What was cut since the last reading, by the pod that it is charged to; what is charged to no known pod is left out. */
  take(entries: Buffer): Cut[] {
    const now = new Map<string, bigint>();
    const cuts: Cut[] = [];
    for (let at = 0; at + RATE_KEY.size + RATE.size <= entries.length; at += RATE_KEY.size + RATE.size) {
      const total = entries.readBigUInt64LE(at + RATE_KEY.size + RATE.cut);
      const key = entries.toString('latin1', at, at + RATE_KEY.size);
      const before = this.#last.get(key) ?? 0n;
      now.set(key, total);
      // The map forgets who was quiet for long: what it has then began at nothing.
      const count = Number(total >= before ? total - before : total);
      const whom = count > 0 ? whose(entries, at) : undefined;
      if (whom !== undefined) cuts.push({ ...whom, count });
    }
    this.#last = now;
    return cuts;
  }
}

const AT_A_POD: readonly number[] = [RATE_CLASS.own, RATE_CLASS.answer, RATE_CLASS.answerToUntold];

function whose(entries: Buffer, at: number): Pick<Cut, 'ifindex' | 'ip'> | undefined {
  const rateClass = entries.readUInt32LE(at + RATE_KEY.rateClass);
  if (AT_A_POD.includes(rateClass)) return { ifindex: entries.readUInt32LE(at + RATE_KEY.ifindex), ip: undefined };
  const ip = addressText(new DataView(entries.buffer, entries.byteOffset, entries.byteLength), at + RATE_KEY.address);
  return ip === '::' ? undefined : { ifindex: undefined, ip };
}
