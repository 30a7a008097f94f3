import type { ApiObject, Resource } from '../../plan/types.ts';
import { RESOURCES } from '../objects/resources.ts';
import type { Attempt } from '../objects/status.ts';
import type { Store } from '../objects/store.ts';

/** Who asks: as TokenReview tells of a user, and as SubjectAccessReview names one. */
export interface Subject {
  username: string;
  groups: readonly string[];
}

interface Rule {
  verbs?: string[];
  apiGroups?: string[];
  resources?: string[];
  resourceNames?: string[];
}

interface Binding {
  kind: string;
  metadata: ApiObject['metadata'];
  roleRef: { kind: string; name: string };
  subjects?: { kind: string; name: string; namespace?: string }[];
}

type SubjectOf = NonNullable<Binding['subjects']>[number];

/**
 * Whether the Roles and bindings that the server holds let somebody do this, as the RBAC authorizer decides (Kubernetes
 * `plugin/pkg/auth/authorizer/rbac`): a ClusterRoleBinding counts everywhere, a RoleBinding in its namespace. Gives why they do, in the
 * words of the real one; undefined: they do not.
 */
export function ruling(store: Store, who: Subject, attempt: Attempt): string | undefined {
  if (who.groups.includes('system:masters')) return '';
  // The real server binds these to all who are authenticated.
  if (attempt.verb === 'create' && attempt.resource.startsWith('selfsubject') && !who.groups.includes('system:unauthenticated'))
    return '';
  const bindings = [
    ...listOf(store, 'clusterrolebindings'),
    ...(attempt.namespace === undefined ? [] : listOf(store, 'rolebindings', attempt.namespace)),
  ] as unknown as Binding[];
  for (const binding of bindings) {
    const subject = binding.subjects?.find((one) => isMeant(one, who));
    if (subject !== undefined && rulesOf(store, binding).some((rule) => permits(rule, attempt)))
      return reasonOf(binding, subject);
  }
  return undefined;
}

function reasonOf({ kind, metadata, roleRef }: Binding, subject: SubjectOf): string {
  const binding = metadata.namespace === undefined ? metadata.name : `${metadata.name}/${metadata.namespace}`;
  const whom = subject.namespace === undefined ? subject.name : `${subject.name}/${subject.namespace}`;
  const role = `${roleRef.kind} ${JSON.stringify(roleRef.name)}`;
  return `RBAC: allowed by ${kind} ${JSON.stringify(binding)} of ${role} to ${subject.kind} ${JSON.stringify(whom)}`;
}

function isMeant({ kind, name, namespace }: SubjectOf, { username, groups }: Subject): boolean {
  if (kind === 'Group') return groups.includes(name);
  return username === (kind === 'ServiceAccount' ? `system:serviceaccount:${namespace}:${name}` : name);
}

function rulesOf(store: Store, { metadata, roleRef }: Binding): Rule[] {
  const plural = roleRef.kind === 'Role' ? 'roles' : 'clusterroles';
  const namespace = roleRef.kind === 'Role' ? metadata.namespace : undefined;
  const role = listOf(store, plural, namespace).find((one) => one.metadata.name === roleRef.name);
  return (role?.['rules'] as Rule[] | undefined) ?? [];
}

function permits({ verbs, apiGroups, resources, resourceNames }: Rule, attempt: Attempt): boolean {
  const resource = attempt.subresource === undefined ? attempt.resource : `${attempt.resource}/${attempt.subresource}`;
  return (
    has(verbs, attempt.verb) &&
    has(apiGroups, attempt.group) &&
    has(resources, resource) &&
    (resourceNames === undefined || resourceNames.length === 0 || resourceNames.includes(attempt.name ?? ''))
  );
}

function has(list: readonly string[] | undefined, wanted: string): boolean {
  return list?.some((one) => one === '*' || one === wanted) ?? false;
}

function listOf(store: Store, plural: string, namespace?: string): ApiObject[] {
  return store.list(RESOURCES.find((resource) => resource.plural === plural) as Resource, namespace);
}
