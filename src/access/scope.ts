import type { Target } from '../event/target.ts';

/** What somebody may see: everything, or the pods and Services of these namespaces. */
export type Scope = 'all' | ReadonlySet<string>;

/** The audience of the tokens that agents take; a token for the API server itself is none of them. */
export const AUDIENCE = 'ktrace.dev';

/** The API group of what exists only to be authorized: no such resource is ever served. */
export const ACCESS_GROUP = 'ktrace.dev';

/** `watch flows.ktrace.dev` in a namespace lets its holder follow there; in all namespaces, everything. */
export const FLOWS = 'flows';

/** `get payloads.ktrace.dev` lets who may follow somewhere see there what is behind packets' headers, too. */
export const PAYLOADS = 'payloads';

/** The service account of a namespace that people see that namespace as. */
export const VIEWER_ACCOUNT = 'ktrace-viewer';

/** The service account of ktrace's own namespace that people see everything as. */
export const ADMIN_ACCOUNT = 'ktrace-admin';

/** The accounts that people see as who may see payloads, too. */
export const PAYLOAD_VIEWER_ACCOUNT = 'ktrace-payload-viewer';
export const PAYLOAD_ADMIN_ACCOUNT = 'ktrace-payload-admin';

/** What following these targets needs. Nodes carry everybody's packets: they and selectors over all namespaces need everything. */
export function neededScope(targets: readonly Target[]): Scope {
  const namespaces = new Set<string>();
  for (const target of targets) {
    const namespace = namespaceOf(target);
    if (namespace === undefined) return 'all';
    namespaces.add(namespace);
  }
  return namespaces;
}

/** Whether who may see the one may see the other. */
export function covers(allowed: Scope, needed: Scope): boolean {
  if (allowed === 'all') return true;
  return needed !== 'all' && [...needed].every((namespace) => allowed.has(namespace));
}

/** What may be seen by both. */
export function intersection(one: Scope, other: Scope): Scope {
  if (one === 'all') return other;
  return other === 'all' ? one : new Set([...one].filter((namespace) => other.has(namespace)));
}

/** The `ktrace grant` line that would let somebody see this, with or without payloads. */
export function grantLine(needed: Scope, user: string, payloads = false): string {
  const who = `${payloads ? '--payloads ' : ''}--user ${quoted(user)}`;
  if (needed === 'all') return `ktrace grant --admin ${who}`;
  return [...needed].map((namespace) => `ktrace grant ${quoted(namespace)} ${who}`).join(' && ');
}

function namespaceOf(target: Target): string | undefined {
  if (target.kind === 'namespace') return target.name;
  return 'namespace' in target ? target.namespace : undefined;
}

/** As a shell takes it for one word. */
function quoted(word: string): string {
  return /^[\w.:@/-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
