import type { Resource } from '../../plan/types.ts';
import { invalid } from './status.ts';

/** Roles may have colons in their names; what is served as a host's name has the form of a label; all others that of a subdomain. */
const PATHS = new Set(['roles', 'rolebindings', 'clusterroles', 'clusterrolebindings']);
const LABELS = new Set(['namespaces', 'services']);
const LABEL = '[a-z0-9]([-a-z0-9]*[a-z0-9])?';
const SUBDOMAIN = `${LABEL}(\\.${LABEL})*`;
const SUBDOMAIN_RULE =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character" +
  ` (e.g. 'example.com', regex used for validation is '${SUBDOMAIN}')`;
const LABEL_RULE =
  "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character" +
  ` (e.g. 'my-name',  or '123-abc', regex used for validation is '${LABEL}')`;

/** @throws ApiError 422 for no name, and for one that no object of the resource may have (Kubernetes `pkg/apis/core/validation`) */
export function rejectBadName(resource: Resource, name: string | undefined): void {
  const about = { group: resource.group, kind: resource.kind, name: name ?? '' };
  const field = 'metadata.name';
  if (name === undefined || name === '')
    throw invalid(about, { field, reason: 'Required', text: 'name or generateName is required' });
  if (PATHS.has(resource.plural)) return;
  const isLabel = LABELS.has(resource.plural);
  const isGood = new RegExp(`^${isLabel ? LABEL : SUBDOMAIN}$`).test(name) && name.length <= (isLabel ? 63 : 253);
  if (isGood) return;
  throw invalid(about, { field, reason: 'Invalid', value: name, text: isLabel ? LABEL_RULE : SUBDOMAIN_RULE });
}
