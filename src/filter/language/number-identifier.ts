import type { Cursor } from '../tokens/cursor.ts';
import { ETHER_TYPES, IP_PROTOCOLS, PORTS } from '../tokens/words.ts';
import type { PortProtocol, Primitive } from './ast.ts';
import { protocolOf, type Qualifiers } from './qualifiers.ts';

const PORT_PROTOCOLS: readonly (string | undefined)[] = [undefined, 'tcp', 'udp', 'sctp'];
const PROTO_PROTOCOLS: readonly (string | undefined)[] = [undefined, 'ip', 'ip6', 'ether'];

/** A port, or a range of them, by number or by name. Throws KTRACE_E_FILTER. */
export function parsePort(cursor: Cursor, qualifiers: Qualifiers): Primitive {
  const { direction, type } = qualifiers;
  const protocol = protocolOf<PortProtocol>(cursor, qualifiers, PORT_PROTOCOLS, 'a port');
  const token = cursor.token;
  if (token.kind !== 'number' && token.kind !== 'word' && token.kind !== 'quoted') throw cursor.expected('a port');
  cursor.take();
  const names = type === 'portrange' && token.kind !== 'number' ? rangeOf(token.text) : [token.text];
  const ends = token.kind === 'number' ? [{ port: token.value }] : names.map((name) => namedPort(cursor, name, token.at));
  const [first, last] = [ends[0] as NamedPort, (ends[1] ?? ends[0]) as NamedPort];
  for (const { port } of ends)
    if (port > 65535) throw cursor.failure(`Expected a port of at most 65535, got ${port}`, undefined, token.at);
  const own = first.protocol === last.protocol ? first.protocol : undefined;
  if (protocol !== undefined && own !== undefined && own !== protocol) {
    throw cursor.failure(
      `Expected a port of ${protocol}, got ${JSON.stringify(token.text)}, which is one of ${own}`,
      undefined,
      token.at,
    );
  }
  const named = protocol ?? own;
  const [from, to] = [Math.min(first.port, last.port), Math.max(first.port, last.port)];
  return { kind: 'port', ...(named === undefined ? {} : { protocol: named }), direction, from, to };
}

type NamedPort = { port: number; protocol?: PortProtocol };

function rangeOf(text: string): string[] {
  const dash = text.indexOf('-');
  return dash < 0 ? [text] : [text.slice(0, dash), text.slice(dash + 1)];
}

function namedPort(cursor: Cursor, name: string, at: number): NamedPort {
  if (/^\d+$/.test(name)) return { port: Number(name) };
  const port = Object.hasOwn(PORTS, name) ? PORTS[name] : undefined;
  if (port === undefined)
    throw cursor.failure(`Expected a port, got ${JSON.stringify(name)}, which is no known name of one`, 'Give its number.', at);
  return port;
}

/** A protocol by number or by name. Throws KTRACE_E_FILTER. */
export function parseProto(cursor: Cursor, qualifiers: Qualifiers): Primitive {
  const protocol = protocolOf<'ip' | 'ip6' | 'ether'>(cursor, qualifiers, PROTO_PROTOCOLS, 'proto');
  const token = cursor.token;
  const names = protocol === 'ether' ? ETHER_TYPES : IP_PROTOCOLS;
  const value = token.kind === 'number' ? token.value : Object.hasOwn(names, token.text) ? names[token.text] : undefined;
  if (value === undefined)
    throw cursor.expected('the number or the name of a protocol', `Names are ${Object.keys(names).join(', ')}.`);
  cursor.take();
  return { kind: 'proto', ...(protocol === undefined ? {} : { protocol }), value };
}
