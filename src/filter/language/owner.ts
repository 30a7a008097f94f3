import type { Cursor } from '../tokens/cursor.ts';
import { rejectMisplaced } from '../tokens/refused.ts';
import type { Owner, Primitive } from './ast.ts';
import type { OwnerWord, Qualifiers } from './qualifiers.ts';

/** RFC 1123, as names of pods, Services, nodes and namespaces are; at most 253 characters. */
const NAME = '[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?';
const SHAPES = {
  name: new RegExp(`^${NAME}$`),
  namespacedName: new RegExp(`^(?:${NAME}/)?${NAME}$`),
  /** Kubernetes: an optional DNS prefix, then at most 63 characters; a value may be empty. */
  label: new RegExp(
    `^(?:${NAME}/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?=(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$`,
  ),
  /** Linux: any 15 characters but blanks and slashes (IFNAMSIZ); those that join filters are left out. */
  interface: /^[^\s()&|!/]{1,64}$/,
  reason: /^[A-Za-z0-9_]{1,64}$/,
};

export const OWNER_HINTS: Readonly<Record<string, string>> = {
  pod: 'Write pod NAME or pod NAMESPACE/NAME.',
  svc: 'Write svc NAME or svc NAMESPACE/NAME.',
  ns: 'Write ns NAME.',
  node: 'Write node NAME.',
  label: 'Write KEY=VALUE, such as label app=redis.',
};

/** `pod NAME`, `pod NS/NAME`, `ns NAME`, `svc NAME`, `node NAME`, `label KEY=VALUE`, from the value on. Throws KTRACE_E_FILTER. */
export function parseOwner(cursor: Cursor, kind: OwnerWord, qualifiers: Qualifiers): Owner {
  const { protocol, direction } = qualifiers;
  if (protocol !== undefined) {
    throw cursor.failure(
      `Expected no ${JSON.stringify(protocol)} before ${JSON.stringify(kind)}`,
      `Write "${protocol} and ${kind} NAME".`,
    );
  }
  const hint = OWNER_HINTS[kind] as string;
  if (kind === 'label') {
    const text = cursor.takeValue('a label', SHAPES.label, hint);
    const at = text.indexOf('=');
    return { kind, direction, key: text.slice(0, at), value: text.slice(at + 1) };
  }
  if (kind === 'ns' || kind === 'node') {
    const what = kind === 'ns' ? 'the name of a namespace' : 'the name of a node';
    return { kind, direction, name: cursor.takeValue(what, SHAPES.name, hint) };
  }
  const what = kind === 'pod' ? 'the name of a pod' : 'the name of a Service';
  const text = cursor.takeValue(what, SHAPES.namespacedName, hint);
  const slash = text.indexOf('/');
  if (slash < 0) return { kind, direction, name: text };
  return { kind, direction, namespace: text.slice(0, slash), name: text.slice(slash + 1) };
}

/** `iface NAME`, `dropped`, `translated`, `reason NAME`; undefined, and nothing is taken, for another word. Throws KTRACE_E_FILTER. */
export function parseFate(cursor: Cursor): Primitive | undefined {
  const { kind, text } = cursor.token;
  if (kind !== 'word') return undefined;
  switch (text) {
    case 'dropped':
    case 'translated':
      rejectMisplaced(cursor);
      cursor.take();
      return { kind: text };
    case 'iface':
      cursor.take();
      return {
        kind: text,
        pattern: cursor.takeValue(
          'the name of an interface',
          SHAPES.interface,
          'Write iface NAME; * and ? stand for other characters.',
        ),
      };
    case 'reason':
      rejectMisplaced(cursor);
      cursor.take();
      return {
        kind: text,
        name: cursor.takeValue('the reason of a drop', SHAPES.reason, 'Such as reason NETFILTER_DROP.').toUpperCase(),
      };
    default:
      return undefined;
  }
}
