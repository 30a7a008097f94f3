import type { Expression, Primitive } from '../language/ast.ts';
import { failureAt } from '../language/places.ts';

/** Addresses of a host's name; an empty list, or a rejection, when it has none. */
export type LookUp = (name: string) => Promise<string[]>;

/**
 * The filter with addresses in place of hosts' names: any of a host's addresses is meant. Each name is looked up once.
 * Throws KTRACE_E_FILTER_HOST, which shows the name.
 */
export async function resolveNames(expression: Expression, lookUp: LookUp): Promise<Expression> {
  const known = new Map<string, Promise<string[]>>();
  const once: LookUp = (name) => {
    const answer = known.get(name) ?? lookUp(name).catch(() => []);
    known.set(name, answer);
    return answer;
  };
  return resolveIn(expression, once);
}

async function resolveIn(expression: Expression, lookUp: LookUp): Promise<Expression> {
  switch (expression.kind) {
    case 'and':
    case 'or': {
      const [left, right] = await Promise.all([resolveIn(expression.left, lookUp), resolveIn(expression.right, lookUp)]);
      return { kind: expression.kind, left, right };
    }
    case 'not':
    case 'outer':
    case 'inner':
      return { kind: expression.kind, of: await resolveIn(expression.of, lookUp) };
    case 'host-name':
      return hosts(expression, await lookUp(expression.name));
    default:
      return expression;
  }
}

function hosts(primitive: Primitive & { kind: 'host-name' }, addresses: string[]): Expression {
  const { protocol, direction, name } = primitive;
  const isMeant = (address: string) => protocol === undefined || address.includes(':') === (protocol === 'ip6');
  const meant = [...new Set(addresses)]
    .filter(isMeant)
    .map((address): Expression => ({ kind: 'host', ...(protocol === undefined ? {} : { protocol }), direction, address }));
  const [first, ...rest] = meant;
  if (first !== undefined) return rest.reduce((left, right): Expression => ({ kind: 'or', left, right }), first);
  const family =
    protocol === undefined || addresses.length === 0
      ? 'no address is known for it'
      : `it has no address that ${protocol} can carry`;
  throw failureAt(
    primitive,
    `Expected the name of a host, got ${JSON.stringify(name)}: ${family}`,
    'Give its address.',
    'KTRACE_E_FILTER_HOST',
  );
}
