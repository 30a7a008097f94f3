import { endsOf } from '../../event/ends.ts';
import type { Endpoint, KtraceEvent, PacketEvent } from '../../event/types.ts';
import { PcapngWriter } from '../../store/capture/pcapng-writer.ts';
import { addressBytes } from '../../util/address.ts';
import { badArgument } from '../../util/errors.ts';
import { manyText } from '../../util/many-text.ts';
import { eventText } from '../render/lines/text.ts';
import { palette } from '../render/style/colors.ts';

/** Addresses whose names have been told; beyond, they are told again. */
const MAX_NAMES = 65_536;

/** An interface's name for what is of none. */
const STACK = 'stack';

/** Nobody reads a capture off a screen. Throws KTRACE_E_ARGUMENT. */
export function checkCaptureGoesTo({ isTTY }: { isTTY?: boolean }): void {
  if (isTTY === true) throw badArgument('-o pcapng', 'a file or a pipe', 'a terminal');
}

/** Records as a pcapng file: a packet at its first hop, with all that is known of it as its comment. */
export class CaptureWriter {
  /** Packets of which no bytes are known. */
  #without = 0;
  readonly #writer = new PcapngWriter();
  readonly #names = new Map<string, string>();
  readonly #lost = new Map<string, number>();
  #lastNs = 0n;

  begin(): Buffer {
    return this.#writer.begin('ktrace');
  }

  /** The bytes to write for a record; undefined when it is none of a capture's. A packet that is told again is in it already. */
  of(event: KtraceEvent): Buffer | undefined {
    if (event.kind === 'lost') {
      this.#lost.set(event.node, (this.#lost.get(event.node) ?? 0) + event.count);
      if (!Number.isNaN(Date.parse(event.to))) this.#note(unixNs(event.to));
    }
    if (event.kind !== 'packet' || event.amends === true) return undefined;
    const [bytes] = event.headers ?? [];
    if (bytes === undefined) {
      this.#without += 1;
      return undefined;
    }
    const timeNs = unixNs(event.time);
    this.#note(timeNs);
    const packet = this.#writer.packet({
      interface: interfaceOf(event),
      timeNs,
      isOutgoing: event.hops[0]?.dir === 'out',
      bytes: Buffer.from(bytes, 'base64'),
      lengthBytes: event.len,
      comment: eventText(event, 'wide', palette(false)) ?? '',
    });
    const names = this.#newNames(event);
    return names.length === 0 ? packet : Buffer.concat([this.#writer.names(names), packet]);
  }

  /** What nodes lost, at the first of their interfaces; of a node without a packet at one that stands for its stack. */
  end(): Buffer {
    const blocks: Buffer[] = [];
    const told = new Set<string>();
    for (const name of this.#writer.interfaces) {
      const node = name.slice(0, name.indexOf('/'));
      if (told.has(node)) continue;
      told.add(node);
      blocks.push(this.#writer.dropped(name, this.#lost.get(node) ?? 0, this.#lastNs));
    }
    for (const [node, count] of this.#lost) {
      if (!told.has(node)) blocks.push(this.#writer.dropped(`${node}/${STACK}`, count, this.#lastNs));
    }
    return Buffer.concat(blocks);
  }

  #note(timeNs: bigint): void {
    if (timeNs > this.#lastNs) this.#lastNs = timeNs;
  }

  /** What had no place in the capture; undefined: nothing. */
  withoutText(): string | undefined {
    if (this.#without === 0) return undefined;
    return `${manyText(this.#without, 'packet is', 'packets are')} not in the capture: no bytes are known`;
  }

  #newNames(event: PacketEvent): { address: Uint8Array; name: string }[] {
    const records: { address: Uint8Array; name: string }[] = [];
    for (const end of endsOf(event)) {
      const name = nameOf(end);
      if (name === undefined || this.#names.get(end.ip) === name) continue;
      const mapped = addressBytes(end.ip);
      if (mapped === undefined) continue;
      if (this.#names.size >= MAX_NAMES) this.#names.clear();
      this.#names.set(end.ip, name);
      records.push({ address: end.ip.includes(':') ? mapped : mapped.subarray(12), name });
    }
    return records;
  }
}

/** As a host's name is written: the pod's before its namespace's. */
function nameOf({ pod, service, node }: Endpoint): string | undefined {
  if (pod !== undefined) return `${pod.name}.${pod.namespace}`;
  return service === undefined ? node : `${service.name}.${service.namespace}.svc`;
}

function interfaceOf({ hops, nodes, drop }: PacketEvent): string {
  const [first] = hops;
  return first === undefined ? `${nodes[0] ?? ''}/${drop?.if ?? STACK}` : `${first.node}/${first.if}`;
}

function unixNs(time: string): bigint {
  const fraction = /\.(\d{1,9})/.exec(time)?.[1] ?? '';
  return BigInt(Date.parse(`${time.slice(0, 19)}Z`)) * 1_000_000n + BigInt(fraction.padEnd(9, '0'));
}
