import { compileFilter } from '../compile/compile.ts';
import { type Asked, translate } from '../compile/ebpf.ts';
import type { KernelProgram } from '../compile/ebpf-assembly.ts';
import type { Instruction } from '../compile/program.ts';
import { shortened } from '../compile/shorten.ts';
import type { Arithmetic, Expression } from '../language/ast.ts';
import { protocolPart, readsBytes } from './kernel-part.ts';

const FRAGMENT_OFFSET = 0x1fff;
const IPV6_FRAGMENT = 44;

/** The classic program of a kernel part (see `kernelPart`), on a packet from its IP header on. */
export function kernelCode(part: Expression): Instruction[] {
  return shortened(compileFilter(readsBytes(part) ? { kind: 'or', left: IS_FRAGMENT, right: part } : part, 'raw'));
}

/**
 * The program that the kernel is given; undefined when it would be too long. What it asks of protocols is answered alike for all packets of a flow, and is
 * asked first. Where bytes are asked for, packets of one flow differ: its first one at each hook is let through, from which user space learns who began it.
 */
export function kernelProgram(part: Expression): KernelProgram | undefined {
  return translate({ ...kernelQuestions(part), passesNewFlows: true });
}

/** What the kernel asks of a packet: all must take it. */
export function kernelQuestions(part: Expression): Pick<Asked, 'ofFlow' | 'ofPacket'> {
  if (!readsBytes(part)) return { ofFlow: kernelCode(part) };
  const protocols = protocolPart(part);
  return { ...(protocols && { ofFlow: kernelCode(protocols) }), ofPacket: kernelCode(part) };
}

/** A fragment has no transport header, or not all of it, and becomes a packet that has on the same node. */
const IS_FRAGMENT: Expression = {
  kind: 'or',
  left: {
    kind: 'relation',
    comparison: '!=',
    left: { kind: 'operation', operator: '&', left: bytes('ip', 6, 2), right: number(FRAGMENT_OFFSET) },
    right: number(0),
  },
  right: { kind: 'relation', comparison: '=', left: bytes('ip6', 6, 1), right: number(IPV6_FRAGMENT) },
};

function bytes(protocol: 'ip' | 'ip6', index: number, size: 1 | 2): Arithmetic {
  return { kind: 'bytes', protocol, index: number(index), size };
}

function number(value: number): Arithmetic {
  return { kind: 'number', value };
}
