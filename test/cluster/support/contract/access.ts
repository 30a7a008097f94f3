import { type Asking, AUDIENCE, configMap } from './asking.ts';

export async function tokens({ api, say, inside }: Asking): Promise<void> {
  const path = `${inside}/serviceaccounts/visitor/token`;
  const request = (spec: object) => ({ kind: 'TokenRequest', apiVersion: 'authentication.k8s.io/v1', spec });
  const audiences = [AUDIENCE];
  const ours = await say(
    'request a token',
    api.ask({ method: 'POST', path, body: request({ audiences, expirationSeconds: 600 }) }),
  );
  await say(
    'request a token for a short time',
    api.ask({ method: 'POST', path, body: request({ audiences, expirationSeconds: 599 }) }),
  );
  await say(
    'request a token of nobody',
    api.ask({ method: 'POST', path: `${inside}/serviceaccounts/nosuch/token`, body: request({ audiences }) }),
  );
  const review = (token: string | undefined, asked: string[] | undefined) => ({
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenReview',
    spec: { token, ...(asked === undefined ? {} : { audiences: asked }) },
  });
  const reviews = '/apis/authentication.k8s.io/v1/tokenreviews';
  const { token } = ours.status ?? {};
  await say('review a token', api.ask({ method: 'POST', path: reviews, body: review(token, audiences) }));
  await say('review a token for another audience', api.ask({ method: 'POST', path: reviews, body: review(token, ['other']) }));
  await say('review a token for the API server', api.ask({ method: 'POST', path: reviews, body: review(token, undefined) }));
  await say('review nonsense', api.ask({ method: 'POST', path: reviews, body: review('nonsense', audiences) }));
  await say(
    'review a forged token',
    api.ask({ method: 'POST', path: reviews, body: review(`${token?.slice(0, -8)}AAAAAAAA`, audiences) }),
  );
  await say('review nothing', api.ask({ method: 'POST', path: reviews, body: review('', audiences) }));
  await say('use a token of another audience', api.ask({ path: '/api/v1/nodes', token: token ?? '' }));
}

export async function reviews({ api, say, namespace }: Asking, visitor: string): Promise<void> {
  const user = `system:serviceaccount:${namespace}:visitor`;
  const at = '/apis/authorization.k8s.io/v1';
  const ask = (kind: string, spec: object, token?: string) =>
    api.ask({
      method: 'POST',
      path: `${at}/${kind.toLowerCase()}s`,
      body: { apiVersion: 'authorization.k8s.io/v1', kind, spec },
      ...(token === undefined ? {} : { token }),
    });
  const flows = { verb: 'watch', group: AUDIENCE, resource: 'flows' };
  const access = 'SubjectAccessReview';
  await say('may one who may', ask(access, { user, resourceAttributes: { ...flows, namespace } }));
  await say('may one who may not', ask(access, { user, resourceAttributes: { ...flows, namespace: 'default' } }));
  await say('may one everywhere', ask(access, { user, resourceAttributes: flows }));
  await say('may a group', ask(access, { groups: ['system:masters'], resourceAttributes: flows }));
  await say('may nobody', ask(access, { resourceAttributes: flows }));
  await say('may one what', ask(access, { user }));
  await say('may one read a path', ask(access, { user, nonResourceAttributes: { path: '/metrics', verb: 'get' } }));
  await say('may I', ask('SelfSubjectAccessReview', { resourceAttributes: { verb: 'list', resource: 'pods' } }, visitor));
  const self = { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' };
  await say(
    'who am I',
    api.ask({ method: 'POST', path: '/apis/authentication.k8s.io/v1/selfsubjectreviews', body: self, token: visitor }),
  );
}

export async function refusals({ api, say, inside }: Asking, visitor: string): Promise<void> {
  const body = configMap('refused');
  await say('list without a right', api.ask({ path: `${inside}/pods`, token: visitor }));
  await say('list in all namespaces without a right', api.ask({ path: '/api/v1/pods', token: visitor }));
  await say('get without a right', api.ask({ path: `${inside}/pods/nosuch`, token: visitor }));
  await say('watch without a right', api.ask({ path: `${inside}/pods?watch=1`, token: visitor }));
  await say('create without a right', api.ask({ method: 'POST', path: `${inside}/configmaps`, body, token: visitor }));
  await say(
    'request a token without a right',
    api.ask({ method: 'POST', path: `${inside}/serviceaccounts/visitor/token`, body: {}, token: visitor }),
  );
  await say(
    'review without a right',
    api.ask({ method: 'POST', path: '/apis/authentication.k8s.io/v1/tokenreviews', body: {}, token: visitor }),
  );
  await say('get with a bad token', api.ask({ path: '/api/v1/nodes', token: 'nonsense' }));
  await say('get without a token', api.ask({ path: '/api/v1/nodes', token: null }));
  await say('get the version without a token', api.ask({ path: '/version', token: null }));
}

export async function forwards({ api, say, namespace, pod }: Asking, visitor: string): Promise<void> {
  const of = (name: string, query: string, where = pod.namespace) =>
    `/api/v1/namespaces/${where}/pods/${name}/portforward${query}`;
  const hello = 'GET / HTTP/1.0\r\nhost: pod\r\n\r\n';
  await say('forward a port', api.forward(of(pod.name, `?ports=${pod.port}`), hello));
  await say('forward a port where nobody listens', api.forward(of(pod.name, '?ports=81'), ''));
  await say('forward to no pod', api.forward(of('nosuch', '?ports=80'), ''));
  await say('forward no port', api.forward(of(pod.name, ''), ''));
  await say('forward a bad port', api.forward(of(pod.name, '?ports=x'), ''));
  await say('forward without a right', api.forward(of('other', '?ports=80', namespace), '', visitor));
  await say('forward with a bad token', api.forward(of(pod.name, `?ports=${pod.port}`), '', 'nonsense'));
  await say('forward without a websocket', api.ask({ path: of(pod.name, `?ports=${pod.port}`) }));
  // The visitor may get and not create in its own namespace, and the other way round.
  await say('forward with a right to get alone', api.forward(of('get', '?ports=80', namespace), '', visitor));
  await say('forward with a right to create alone', api.forward(of('create', '?ports=80', namespace), '', visitor));
  await say('forward with both', api.forward(of('both', '?ports=80', namespace), '', visitor));
}

/** A service account with a few rights, and its token for the API server itself. */
export async function makeVisitor({ api, namespace }: Asking): Promise<string> {
  const inside = `/api/v1/namespaces/${namespace}`;
  const rbac = `/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}`;
  const forward = (verbs: string[], name: string) => ({
    apiGroups: [''],
    resources: ['pods/portforward'],
    verbs,
    resourceNames: [name],
  });
  const rules = [
    { apiGroups: [AUDIENCE], resources: ['flows'], verbs: ['watch'] },
    forward(['get'], 'get'),
    forward(['create'], 'create'),
    forward(['get', 'create'], 'both'),
  ];
  const apiVersion = 'rbac.authorization.k8s.io/v1';
  const metadata = { name: 'visitor' };
  await api.ask({
    method: 'POST',
    path: `${inside}/serviceaccounts`,
    body: { apiVersion: 'v1', kind: 'ServiceAccount', metadata },
  });
  await api.ask({ method: 'POST', path: `${rbac}/roles`, body: { apiVersion, kind: 'Role', metadata, rules } });
  const subjects = [{ kind: 'ServiceAccount', name: 'visitor', namespace }];
  const roleRef = { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'visitor' };
  await api.ask({
    method: 'POST',
    path: `${rbac}/rolebindings`,
    body: { apiVersion, kind: 'RoleBinding', metadata, roleRef, subjects },
  });
  const request = { kind: 'TokenRequest', apiVersion: 'authentication.k8s.io/v1', spec: { expirationSeconds: 600 } };
  const { body } = await api.ask({ method: 'POST', path: `${inside}/serviceaccounts/visitor/token`, body: request });
  const { token } = (body as { status?: { token?: string } }).status ?? {};
  if (token === undefined) throw new Error(`no token for the visitor: ${JSON.stringify(body)}`);
  return token;
}
