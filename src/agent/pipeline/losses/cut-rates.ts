import { POD_CUT, POD_CUT_STATE, RATE, RATE_CLASS, RATE_KEY } from '../../../event/layout.ts';
import { addressText } from '../../../util/address.ts';

/** Sightings of one pod that were not sent because it was over its rate. */
export interface Cut {
  /** Of the pod whose interface they came in at; undefined where the pod is known by its address. */
  ifindex: number | undefined;
  /** Of the followed end that they are charged to; undefined where they are charged to a pod's interface. */
  ip: string | undefined;
  count: number;
}

/** What the kernel cut of whom, as differences between two readings of its rates and of what it cut without a closer look (bpf/flow/rate.h, cut.h). */
export class CutRates {
  #last = new Map<string, bigint>();

  /**
   * What was cut since the last reading, by the pod that it is charged to; what is charged to no known pod is left out.
   * @param rates entries of the map of rates, keys and values
   * @param podCuts values, `struct ktrace_pod_cut`
   */
  take(rates: Buffer, podCuts: Buffer): Cut[] {
    const now = new Map<string, bigint>();
    const cuts: Cut[] = [];
    const note = (key: string, total: bigint, whose: () => Whom | undefined) => {
      const before = this.#last.get(key) ?? 0n;
      now.set(key, total);
      // The map of rates forgets who was quiet for long: what it has then began at nothing.
      const count = Number(total >= before ? total - before : total);
      const whom = count > 0 ? whose() : undefined;
      if (whom !== undefined) cuts.push({ ...whom, count });
    };
    for (let at = 0; at + RATE_KEY.size + RATE.size <= rates.length; at += RATE_KEY.size + RATE.size) {
      const total = rates.readBigUInt64LE(at + RATE_KEY.size + RATE.cut);
      note(rates.toString('latin1', at, at + RATE_KEY.size), total, () => whoseRate(rates, at));
    }
    for (let at = 0; at + POD_CUT.size <= podCuts.length; at += POD_CUT.size) {
      const whose = whosePodCut(podCuts, at);
      if (whose !== undefined) note(String(at), podCuts.readBigUInt64LE(at + POD_CUT.cut), () => whose);
    }
    this.#last = now;
    return cuts;
  }
}

type Whom = Pick<Cut, 'ifindex' | 'ip'>;

const AT_A_POD: readonly number[] = [RATE_CLASS.own, RATE_CLASS.answer, RATE_CLASS.answerToUntold];

function whoseRate(rates: Buffer, at: number): Whom | undefined {
  const rateClass = rates.readUInt32LE(at + RATE_KEY.rateClass);
  if (AT_A_POD.includes(rateClass)) return { ifindex: rates.readUInt32LE(at + RATE_KEY.ifindex), ip: undefined };
  return ofAddress(rates, at + RATE_KEY.address);
}

function whosePodCut(podCuts: Buffer, at: number): Whom | undefined {
  const ifindex = podCuts.readUInt32LE(at + POD_CUT.ifindex);
  if (ifindex !== 0) return { ifindex, ip: undefined };
  return podCuts.readUInt32LE(at + POD_CUT.state) === POD_CUT_STATE.address
    ? ofAddress(podCuts, at + POD_CUT.address)
    : undefined;
}

function ofAddress(bytes: Buffer, at: number): Whom | undefined {
  const ip = addressText(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), at);
  return ip === '::' ? undefined : { ifindex: undefined, ip };
}
