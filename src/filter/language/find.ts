import type { Expression } from './ast.ts';

/** The first part of an expression, from the left, that is meant; undefined when there is none. */
export function find(expression: Expression, isMeant: (one: Expression) => boolean): Expression | undefined {
  if (isMeant(expression)) return expression;
  if (expression.kind === 'and' || expression.kind === 'or')
    return find(expression.left, isMeant) ?? find(expression.right, isMeant);
  return 'of' in expression ? find(expression.of, isMeant) : undefined;
}
