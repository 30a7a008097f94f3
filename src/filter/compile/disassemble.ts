import type { Instruction } from './program.ts';

const SUFFIX = { 1: 'b', 2: 'h', 4: '' } as const;

/** A program as text, a line an instruction, in the form of `tcpdump -d`. */
export function disassemble(program: readonly Instruction[]): string {
  return program.map((instruction, at) => `(${String(at).padStart(3, '0')}) ${instructionText(instruction)}`).join('\n');
}

function instructionText(step: Instruction): string {
  switch (step.op) {
    case 'load':
      return line(`ld${SUFFIX[step.size]}`, `[${step.k}]`);
    case 'load-indirect':
      return line(`ld${SUFFIX[step.size]}`, `[x + ${step.k}]`);
    case 'load-length':
      return line('ld', '#pktlen');
    case 'load-number':
      return line('ld', hex(step.k));
    case 'load-memory':
      return line('ld', `M[${step.m}]`);
    case 'index-memory':
      return line('ldx', `M[${step.m}]`);
    case 'index-header':
      return line('ldxb', `4*([${step.k}]&0xf)`);
    case 'store':
      return line('st', `M[${step.m}]`);
    case 'to-index':
      return 'tax';
    case 'negate':
      return 'neg';
    case 'alu':
      return line(step.alu, operandText(step.k));
    case 'branch':
      return `${line(step.jump, operandText(step.k)).padEnd(24)}jt ${step.yes}\tjf ${step.no}`;
    case 'return':
      return line('ret', step.isMatch ? '#262144' : '#0');
  }
}

function line(mnemonic: string, operand: string): string {
  return `${mnemonic.padEnd(8)} ${operand}`;
}

function operandText(k: number | undefined): string {
  return k === undefined ? 'x' : hex(k);
}

function hex(value: number): string {
  return `#0x${value.toString(16)}`;
}
