import { API_ADDRESS, API_PORT } from '../../plan/plan.ts';
import { RESOURCES } from './resources.ts';

/** What clients ask to learn which resources there are; undefined for any other path. */
export function discovery(path: string): Record<string, unknown> | undefined {
  if (path === '/version') return { major: '1', minor: '36', gitVersion: 'v1.36.0-ktrace-lab', platform: 'linux/amd64' };
  if (path === '/api') {
    const serverAddressByClientCIDRs = [{ clientCIDR: '0.0.0.0/0', serverAddress: `${API_ADDRESS}:${API_PORT}` }];
    return { kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs };
  }
  if (path === '/apis') return { kind: 'APIGroupList', apiVersion: 'v1', groups: groups().map(apiGroup) };
  const resources = RESOURCES.filter((resource) => resource.root === path);
  if (resources.length === 0) return undefined;
  return {
    kind: 'APIResourceList',
    // The core group's list, older than the others, says none.
    ...(path === '/api/v1' ? {} : { apiVersion: 'v1' }),
    groupVersion: resources[0]?.apiVersion,
    resources: resources.map((resource) => ({
      name: resource.plural,
      singularName: resource.kind.toLowerCase(),
      namespaced: resource.namespaced,
      kind: resource.kind,
      verbs: ['create', 'delete', 'get', 'list', 'patch', 'update', 'watch'],
    })),
  };
}

function groups(): string[] {
  return [...new Set(RESOURCES.map((resource) => resource.group))].filter((group) => group !== '');
}

function apiGroup(name: string): Record<string, unknown> {
  const version = { groupVersion: `${name}/v1`, version: 'v1' };
  return { name, versions: [version], preferredVersion: version };
}
