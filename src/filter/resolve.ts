import type { Expression, Primitive } from './ast.ts';
import { filterFailure } from './failure.ts';

/** Addresses of a host's name; an empty list, or a rejection, when it has none. */
export type LookUp = (name: string) => Promise<string[]>;

/**
 * The filter with addresses in place of hosts' names: any of a host's addresses is meant. Each name is looked up once.
 * Throws KTRACE_E_FILTER_HOST, which shows the name in `text`, the filter as it was written.
 */
export async function resolveNames(expression: Expression, text: string, lookUp: LookUp): Promise<Expression> {
  const known = new Map<string, Promise<string[]>>();
  const once: LookUp = (name) => {
    const answer = known.get(name) ?? lookUp(name).catch(() => []);
    known.set(name, answer);
    return answer;
  };
  return resolveIn(expression, text, once);
}

async function resolveIn(expression: Expression, text: string, lookUp: LookUp): Promise<Expression> {
  switch (expression.kind) {
    case 'and':
    case 'or': {
      const [left, right] = await Promise.all([
        resolveIn(expression.left, text, lookUp),
        resolveIn(expression.right, text, lookUp),
      ]);
      return { kind: expression.kind, left, right };
    }
    case 'not':
    case 'outer':
    case 'inner':
      return { kind: expression.kind, of: await resolveIn(expression.of, text, lookUp) };
    case 'host-name':
      return hosts(expression, await lookUp(expression.name), text);
    default:
      return expression;
  }
}

function hosts(
  { protocol, direction, name, at }: Primitive & { kind: 'host-name' },
  addresses: string[],
  text: string,
): Expression {
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
  throw filterFailure(
    text,
    at,
    `Expected the name of a host, got ${JSON.stringify(name)}: ${family}`,
    'Give its address.',
    'KTRACE_E_FILTER_HOST',
  );
}
