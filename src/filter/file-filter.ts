import type { LinkLayer } from '../event/link-layer.ts';
import type { Expression } from './ast.ts';
import { compileFilter } from './compile.ts';
import { find } from './find.ts';
import { matchesGlob } from './globs.ts';
import { innerPackets } from './inner.ts';
import { failureAt } from './places.ts';
import type { Instruction } from './program.ts';
import { decide } from './run.ts';

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
    return this.#expression === undefined || (this.#ask(this.#expression, packet) ?? false);
  }

  /** Undefined: a byte that was not captured ends it. */
  #ask(node: Expression, packet: FilePacket): boolean | undefined {
    if (isOneProgram(node)) {
      const found = decide(this.#program(node, packet.layer), viewOf(packet.bytes), packet.wireBytes, []);
      return typeof found === 'number' ? undefined : found;
    }
    switch (node.kind) {
      case 'and':
      case 'or': {
        const left = this.#ask(node.left, packet);
        return left === undefined || left === (node.kind === 'or') ? left : this.#ask(node.right, packet);
      }
      case 'not': {
        const of = this.#ask(node.of, packet);
        return of === undefined ? undefined : !of;
      }
      case 'outer':
        return this.#ask(node.of, packet);
      case 'inner':
        return this.#askInner(node.of, packet);
      case 'iface':
        return packet.interfaceName !== undefined && matchesGlob(node.pattern, packet.interfaceName);
      default:
        throw failureAt(node, `Expected a filter of capture files, got ${node.kind}`);
    }
  }

  #askInner(node: Expression, packet: FilePacket): boolean | undefined {
    const ip = this.#ipOf(packet);
    let answer: boolean | undefined = false;
    for (const { bytes, wireBytes } of ip === undefined ? [] : innerPackets(viewOf(ip))) {
      const inside = Buffer.from(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.byteLength);
      const found = this.#ask(node, { ...packet, layer: 'raw', bytes: inside, wireBytes });
      if (found === true) return true;
      if (found === undefined) answer = undefined;
    }
    return answer;
  }

  #program(node: Expression, layer: LinkLayer): Instruction[] {
    const programs = this.#programs.get(layer) ?? new Map<Expression, Instruction[]>();
    this.#programs.set(layer, programs);
    const program = programs.get(node) ?? compileFilter(node, layer);
    programs.set(node, program);
    return program;
  }
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
