import type { Tracer } from '../../../../src/agent/kernel/tracer.ts';
import { kernelTargets } from '../../../../src/agent/pipeline/follow-set.ts';
import { decodeBatch } from '../../../../src/event/decode.ts';
import { CAPTURE } from '../../../../src/event/layout.ts';
import type { Sighting } from '../../../../src/event/sighting.ts';
import type { KernelProgram } from '../../../../src/filter/compile/ebpf-assembly.ts';
import type { Instruction } from '../../../../src/filter/compile/program.ts';
import { decide } from '../../../../src/filter/compile/run.ts';
import { loadNative } from '../../../../src/native/load.ts';
import type { RingReader } from '../../../../src/native/types.ts';
import type { Random } from '../../../filter/support/random.ts';
import { frame, IPV4, IPV6 } from '../../../filter/support/traffic.ts';
import { followed, LOOPBACK, openTracer } from '../kernel.ts';
import { ethernet, IPV4 as TYPE_IPV4, IPV6 as TYPE_IPV6, UNKNOWN } from '../packets.ts';

/** A packet that the programs are given, and what they tell of it without a filter. */
export interface Told {
  bytes: Buffer;
  sighting: Sighting;
  /** What was asked to be captured. */
  snapBytes: number;
}

/** The programs and this kernel's verdicts by filters that are really loaded: a packet is given to a body, and told or not. */
export class FilterBench {
  readonly tracer: Tracer;
  readonly packets: Told[] = [];
  readonly #ring: RingReader;
  #seen: Sighting[] = [];

  /** With at least `count` generated packets, whole and cut ones, that are told without a filter, of every second one all that it has. */
  constructor(random: Random, count: number, objectPath?: string) {
    this.tracer = openTracer(objectPath === undefined ? {} : { objectPath });
    this.tracer.setVxlanPorts([8472, 4789]);
    this.tracer.setGenevePorts([6081]);
    this.tracer.setIpTunnels(true);
    this.tracer.setUplinks([LOOPBACK]);
    this.tracer.targets.set(kernelTargets([followed([...IPV4, ...IPV6])], [...IPV4, ...IPV6]));
    this.#ring = loadNative().readRing(this.tracer.object, 'sightings', { intervalMs: 60_000, unref: true }, (batch) => {
      decodeBatch(batch, (sighting) => this.#seen.push({ ...sighting, data: sighting.data.slice() }));
    });
    while (this.packets.length < count) {
      const { bytes: l3 } = frame(random, 'raw', true);
      const bytes = framed(l3);
      const snapBytes = this.packets.length % 2 === 0 ? 0 : CAPTURE.most;
      // What is told once more is known: nothing about it is let through because it is new.
      this.#run(bytes, snapBytes);
      const [sighting] = this.#run(bytes, snapBytes);
      if (sighting !== undefined && sighting.data.length > 0) this.packets.push({ bytes, sighting, snapBytes });
    }
  }

  /** Throws what the verifier says. */
  load(program: KernelProgram | undefined): void {
    this.tracer.setFilter(program);
  }

  /** By the filter that is loaded. */
  takes({ bytes, snapBytes }: Told): boolean {
    return this.#run(bytes, snapBytes).length > 0;
  }

  close(): void {
    this.#ring.close();
    this.tracer.close();
  }

  #run(packet: Uint8Array, snapBytes: number): Sighting[] {
    this.#seen = [];
    this.tracer.setSnapBytes(snapBytes);
    this.tracer.object.testRun('body_in', packet);
    this.#ring.drain();
    return this.#seen;
  }
}

/** What user space says to the same program: a byte that was not captured lets the packet through. */
export function shouldTake(program: readonly Instruction[], { sighting: { data, len } }: Told): boolean {
  return decide(program, new DataView(data.buffer, data.byteOffset, data.length), len, []) !== false;
}

/** The kernel's test run refuses IP that is shorter than its header. */
function framed(l3: Buffer): Buffer {
  const version = (l3[0] ?? 0) >> 4;
  const isWhole = l3.length >= (version === 6 ? 40 : 20);
  return ethernet(isWhole && version === 4 ? TYPE_IPV4 : isWhole && version === 6 ? TYPE_IPV6 : UNKNOWN, l3);
}
