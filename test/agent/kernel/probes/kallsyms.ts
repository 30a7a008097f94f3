import { readFileSync } from 'node:fs';
import type { KernelSymbols } from '../../../../src/agent/kernel/probes/kernel-symbols.ts';

/** Places in functions of the running kernel, and what they are told as that are told otherwise. None where the kernel shows nobody its addresses. */
export function misnamed(symbols: Pick<KernelSymbols, 'at'>): { places: number; wrong: string[] } {
  const functions = readFileSync('/proc/kallsyms', 'latin1').matchAll(
    /^(?!0+ )([0-9a-f]+) [tT] (tcp_v4_rcv|ip_rcv|nf_hook_slow|icmp_rcv)(?:\t\[\w+\])?$/gm,
  );
  const wrong: string[] = [];
  let places = 0;
  for (const [, address, name] of functions) {
    // Where it begins, and where it calls something.
    for (const offset of [0n, 9n]) {
      const told = symbols.at(BigInt(`0x${address}`) + offset);
      places += 1;
      if (told !== name) wrong.push(`${name}+${offset}: ${told}`);
    }
  }
  return { places, wrong };
}
