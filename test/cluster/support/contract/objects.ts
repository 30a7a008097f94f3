import { APPLY, type Asking, configMap, JSON_PATCH, MERGE } from './asking.ts';

export async function discovery({ api, say }: Asking): Promise<void> {
  for (const path of [
    '/version',
    '/api',
    '/apis',
    '/api/v1',
    '/apis/apps/v1',
    '/healthz',
    '/readyz',
    '/nosuch',
    '/api/v1/nosuch',
    '/apis/no.such/v1/things',
  ])
    await say(`get ${path}`, api.ask({ path }));
  const keys = '/openid/v1/jwks';
  await say('get the keys of tokens as JSON', api.ask({ path: keys }));
  await say('get the keys of tokens', api.ask({ path: keys, accept: 'application/json, application/jwk-set+json' }));
}

export async function objects({ api, say, inside, namespace }: Asking): Promise<void> {
  const all = `${inside}/configmaps`;
  const one = `${all}/one`;
  const body = { ...configMap('one'), metadata: { name: 'one', labels: { colour: 'red' } } };
  const made = await say('create', api.ask({ method: 'POST', path: all, body }));
  await say('create what is there', api.ask({ method: 'POST', path: all, body }));
  await say('create without a name', api.ask({ method: 'POST', path: all, body: { ...body, metadata: {} } }));
  await say('create under a bad name', api.ask({ method: 'POST', path: all, body: configMap('Not_A_Name') }));
  await say('create another kind', api.ask({ method: 'POST', path: all, body: { ...body, kind: 'Namespace' } }));
  await say(
    'create for another namespace',
    api.ask({ method: 'POST', path: all, body: { ...body, metadata: { name: 'two', namespace: 'other' } } }),
  );
  await say(
    'create in no namespace',
    api.ask({ method: 'POST', path: '/api/v1/namespaces/ktrace-nosuch/configmaps', body: configMap('one') }),
  );
  await say('create dry', api.ask({ method: 'POST', path: `${all}?dryRun=All`, body: configMap('dry') }));
  await say('get what was created dry', api.ask({ path: `${all}/dry` }));
  await say('create what is no JSON', api.ask({ method: 'POST', path: all, body: '{"kind":' }));
  await say(
    'create a role binding',
    api.ask({
      method: 'POST',
      path: `/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}/rolebindings`,
      body: bindingOf(),
    }),
  );
  await say('get', api.ask({ path: one }));
  await say('get what is not there', api.ask({ path: `${all}/nosuch` }));
  const changed = { ...body, data: { a: '2' } };
  await say('replace', api.ask({ method: 'PUT', path: one, body: changed }));
  const stale = { ...changed, metadata: { ...changed.metadata, resourceVersion: made.metadata?.resourceVersion } };
  await say('replace an old version', api.ask({ method: 'PUT', path: one, body: stale }));
  await say('replace what is not there', api.ask({ method: 'PUT', path: `${all}/nosuch`, body: configMap('nosuch') }));
  await say('replace under another name', api.ask({ method: 'PUT', path: one, body: configMap('two') }));
  const merge = { metadata: { labels: { colour: 'blue' } } };
  await say('merge', api.ask({ method: 'PATCH', path: one, body: merge, type: MERGE }));
  await say('merge into what is not there', api.ask({ method: 'PATCH', path: `${all}/nosuch`, body: merge, type: MERGE }));
  const add = [{ op: 'add', path: '/data/b', value: '3' }];
  await say('JSON patch', api.ask({ method: 'PATCH', path: one, body: add, type: JSON_PATCH }));
  const remove = [{ op: 'remove', path: '/data/nosuch' }];
  await say('JSON patch of what is not there', api.ask({ method: 'PATCH', path: one, body: remove, type: JSON_PATCH }));
  await say('patch of an unknown type', api.ask({ method: 'PATCH', path: one, body: merge, type: 'application/json' }));
  await say('a method that is not allowed', api.ask({ method: 'PUT', path: all, body }));
  await say('delete dry', api.ask({ method: 'DELETE', path: `${one}?dryRun=All` }));
  await say('delete', api.ask({ method: 'DELETE', path: one, body: { propagationPolicy: 'Background' } }));
  await say('delete what is not there', api.ask({ method: 'DELETE', path: one }));
}

export async function applies({ api, say, inside }: Asking): Promise<void> {
  const path = `${inside}/configmaps/applied`;
  const apply = (data: object, query: string) =>
    api.ask({ method: 'PATCH', path: `${path}?${query}`, body: { ...configMap('applied'), data }, type: APPLY });
  await say('apply dry', apply({ a: '1' }, 'fieldManager=one&force=true&dryRun=All'));
  await say('get what was applied dry', api.ask({ path }));
  await say('apply what is not there', apply({ a: '1', b: '1' }, 'fieldManager=one&force=true'));
  await say('apply the same', apply({ a: '1', b: '1' }, 'fieldManager=one&force=true'));
  await say('apply what another set otherwise', apply({ a: '2' }, 'fieldManager=two'));
  await say('apply by force', apply({ a: '2' }, 'fieldManager=two&force=true'));
  await say('apply without a name of who does', apply({ a: '2' }, 'force=true'));
  // What one applied and applies no more goes; what two has set stays.
  await say('apply less', apply({}, 'fieldManager=one&force=true'));
  const nowhere = '/api/v1/namespaces/ktrace-nosuch/configmaps/applied?fieldManager=one&force=true';
  await say('apply in no namespace', api.ask({ method: 'PATCH', path: nowhere, body: configMap('applied'), type: APPLY }));
}

function bindingOf(): object {
  const apiGroup = 'rbac.authorization.k8s.io';
  return {
    apiVersion: `${apiGroup}/v1`,
    kind: 'RoleBinding',
    metadata: { name: 'someone' },
    roleRef: { apiGroup, kind: 'Role', name: 'visitor' },
    subjects: [{ apiGroup, kind: 'User', name: 'someone' }],
  };
}
