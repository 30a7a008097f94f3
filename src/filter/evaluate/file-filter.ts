import type { LinkLayer } from '../../event/link-layer.ts';
import { compileFilter } from '../compile/compile.ts';
import type { Instruction } from '../compile/program.ts';
import { decide } from '../compile/run.ts';
import type { Expression } from '../language/ast.ts';
import { find } from '../language/find.ts';
import { failureAt } from '../language/places.ts';
import { matchesGlob } from './globs.ts';
import { type IpBytes, innerPackets } from './inner.ts';

/** A packet as it lies in a capture file. */
export interface FilePacket {
  layer: LinkLayer;
  /** As captured, from the link layer on. */
  bytes: Buffer;
  wireBytes: number;
  interfaceName: string | undefined;
}

/** A filter for the packets of a capture file: tcpdump's words mean what they mean to tcpdump, `inner …` looks inside tunnels. */
export class FileFilter {
  readonly #expression: Expression | undefined;
  readonly #ipOf: (packet: FilePacket) => Uint8Array | undefined;
  /** Packets that it did not take as bytes that it reads were not captured, and up to where it reads them, from the link layer on. */
  readonly shortages = { packets: 0, wantsBytes: 0 };
  /** Of the packet that is asked. */
  #readTo = 0;
  readonly #programs = new Map<LinkLayer, Map<Expression, Instruction[]>>();

  /** `ipOf` gives a packet from its IP header on. Throws KTRACE_E_FILTER. */
  constructor(expression: Expression | undefined, ipOf: (packet: FilePacket) => Uint8Array | undefined) {
    this.#expression = expression;
    this.#ipOf = ipOf;
    if (expression === undefined || isOneProgram(expression)) return;
    const vlan = find(expression, ({ kind }) => kind === 'vlan');
    if (vlan === undefined) return;
    const message = 'Expected no "vlan" beside "inner", "outer" or "iface": what follows a vlan looks behind its tag';
    throw failureAt(vlan, message, 'Leave one of them out.');
  }

  /** Throws KTRACE_E_FILTER where the packet's link layer cannot tell what is asked. */
  takes(packet: FilePacket): boolean {
    if (this.#expression === undefined) return true;
    this.#readTo = 0;
    const answer = this.#ask(this.#expression, packet);
    // A packet that ends before is none that was captured too short.
    if (answer === undefined && this.#readTo > 0 && this.#readTo <= packet.wireBytes) {
      this.shortages.packets += 1;
      this.shortages.wantsBytes = Math.max(this.shortages.wantsBytes, this.#readTo);
    }
    return answer ?? false;
  }

  /** Undefined: a byte that was not captured ends it. */
  #ask(node: Expression, packet: FilePacket): boolean | undefined {
    if (isOneProgram(node)) {
      return this.#decide(node, packet.layer, { bytes: viewOf(packet.bytes), wireBytes: packet.wireBytes }, 0);
    }
    switch (node.kind) {
      case 'and':
      case 'or':
      case 'not':
        return combine(node, (part) => this.#ask(part, packet));
      case 'outer':
        return this.#ask(node.of, packet);
      case 'inner': {
        const ip = this.#ipOf(packet);
        return this.#askInner(node.of, packet, ip === undefined ? [] : innerPackets(viewOf(ip)));
      }
      case 'iface':
        return packet.interfaceName !== undefined && matchesGlob(node.pattern, packet.interfaceName);
      default:
        throw failureAt(node, `Expected a filter of capture files, got ${node.kind}`);
    }
  }

  /** Each primitive by itself, as on a follow: true when it is true of any of the packets inside. */
  #askInner(node: Expression, packet: FilePacket, inside: readonly IpBytes[]): boolean | undefined {
    if (node.kind === 'and' || node.kind === 'or' || node.kind === 'not')
      return combine(node, (part) => this.#askInner(part, packet, inside));
    if (node.kind === 'iface') return this.#ask(node, packet);
    let answer: boolean | undefined = false;
    for (const one of inside) {
      const found = this.#decide(node, 'raw', one, one.bytes.byteOffset - packet.bytes.byteOffset);
      if (found === true) return true;
      if (found === undefined) answer = undefined;
    }
    return answer;
  }

  /** `from`: where in the packet its view begins. */
  #decide(node: Expression, layer: LinkLayer, { bytes, wireBytes }: IpBytes, from: number): boolean | undefined {
    const found = decide(this.#program(node, layer), bytes, wireBytes, []);
    if (typeof found !== 'number') return found;
    if (found > 0) this.#readTo = Math.max(this.#readTo, from + found);
    return undefined;
  }

  #program(node: Expression, layer: LinkLayer): Instruction[] {
    const programs = this.#programs.get(layer) ?? new Map<Expression, Instruction[]>();
    this.#programs.set(layer, programs);
    const program = programs.get(node) ?? compileFilter(node, layer);
    programs.set(node, program);
    return program;
  }
}

/** From left to right, no more than it takes; what is not known ends it. */
function combine(
  node: Expression & { kind: 'and' | 'or' | 'not' },
  ask: (part: Expression) => boolean | undefined,
): boolean | undefined {
  if (node.kind === 'not') {
    const of = ask(node.of);
    return of === undefined ? undefined : !of;
  }
  const left = ask(node.left);
  return left === undefined || left === (node.kind === 'or') ? left : ask(node.right);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

const oneProgram = new WeakMap<Expression, boolean>();

/** tcpdump's own words alone, which one classic BPF program decides. */
function isOneProgram(node: Expression): boolean {
  const known = oneProgram.get(node);
  if (known !== undefined) return known;
  const is = find(node, ({ kind }) => kind === 'outer' || kind === 'inner' || kind === 'iface') === undefined;
  oneProgram.set(node, is);
  return is;
}
