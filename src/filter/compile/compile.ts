import type { LinkLayer } from '../../event/link-layer.ts';
import type { Expression } from '../language/ast.ts';
import type { Condition } from './conditions.ts';
import { lower } from './lower.ts';
import type { Branch, Instruction } from './program.ts';

/** A filter as a program for packets of a link layer; without an expression every packet matches. Throws KTRACE_E_FILTER. */
export function compileFilter(expression: Expression | undefined, layer: LinkLayer): Instruction[] {
  return expression === undefined ? [{ op: 'return', isMatch: true }] : assemble(lower(expression, layer));
}

/** A place in the program that is not known before everything in front of it is written. */
interface Label {
  at: number;
}

/** A tree of tests as a program that tests no more than it has to, from left to right. */
function assemble(condition: Condition): Instruction[] {
  const program: Instruction[] = [];
  const pending: { branch: Branch; yes: Label; no: Label }[] = [];

  const write = (node: Condition, yes: Label, no: Label): void => {
    switch (node.kind) {
      case 'constant': {
        const target = node.value ? yes : no;
        writeBranch({ op: 'branch', jump: 'jset', k: 0, yes: 0, no: 0 }, target, target);
        return;
      }
      case 'not':
        write(node.of, no, yes);
        return;
      case 'and':
      case 'or': {
        const next: Label = { at: 0 };
        if (node.kind === 'and') write(node.left, next, no);
        else write(node.left, yes, next);
        next.at = program.length;
        write(node.right, yes, no);
        return;
      }
      case 'test':
        program.push(...node.steps);
        writeBranch({ op: 'branch', jump: node.jump, ...(node.k === undefined ? {} : { k: node.k }), yes: 0, no: 0 }, yes, no);
    }
  };
  const writeBranch = (branch: Branch, yes: Label, no: Label): void => {
    program.push(branch);
    pending.push({ branch, yes, no });
  };

  const match: Label = { at: 0 };
  const mismatch: Label = { at: 0 };
  write(condition, match, mismatch);
  match.at = program.length;
  program.push({ op: 'return', isMatch: true });
  mismatch.at = program.length;
  program.push({ op: 'return', isMatch: false });
  for (const { branch, yes, no } of pending) Object.assign(branch, { yes: yes.at, no: no.at });
  return program;
}
