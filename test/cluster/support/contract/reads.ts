import { type Asking, configMap, MERGE } from './asking.ts';

export async function lists({ api, say, inside, node }: Asking): Promise<void> {
  const all = `${inside}/configmaps`;
  for (const name of ['l1', 'l2', 'l3'])
    await api.ask({ method: 'POST', path: all, body: { ...configMap(name), metadata: { name, labels: { page: 'yes' } } } });
  await say('list', api.ask({ path: `${all}?labelSelector=page%3Dyes` }));
  await say('list nothing', api.ask({ path: `${all}?labelSelector=page%3Dno` }));
  const page = await say('list a page', api.ask({ path: `${all}?labelSelector=page%3Dyes&limit=2` }));
  await say('list a page of everything', api.ask({ path: `${all}?limit=1` }));
  const next = encodeURIComponent(page.metadata?.continue ?? '');
  await say('list the last page', api.ask({ path: `${all}?labelSelector=page%3Dyes&limit=2&continue=${next}` }));
  await say('list on from nonsense', api.ask({ path: `${all}?limit=2&continue=nonsense` }));
  await say('list by a bad label selector', api.ask({ path: `${all}?labelSelector=a%20in%20b` }));
  await say('list by a field that cannot be selected', api.ask({ path: `${all}?fieldSelector=data.a%3D1` }));
  await say('list by a name', api.ask({ path: `${all}?fieldSelector=metadata.name%3Dl1` }));
  await say('list pods of a node', api.ask({ path: `/api/v1/pods?fieldSelector=spec.nodeName%3D${node}&limit=500` }));
  for (const path of ['/api/v1/services', '/api/v1/nodes', '/apis/discovery.k8s.io/v1/endpointslices'])
    await say(`list ${path}`, api.ask({ path: `${path}?limit=500` }));
}

/** As short as a server lets watches be that end by themselves and have a bookmark. */
const WATCH_S = 4;

export async function watches({ api, say, inside, young }: Asking): Promise<void> {
  const all = `${inside}/configmaps`;
  const list = (await api.ask({ path: all })).body as { metadata: { resourceVersion: string } };
  const from = (more: string) => `${all}?watch=1&labelSelector=watched%3Dyes&timeoutSeconds=${WATCH_S}&${more}`;
  const change = async () => {
    const body = { ...configMap('w'), metadata: { name: 'w', labels: { watched: 'yes' } } };
    await api.ask({ method: 'POST', path: all, body });
    const relabel = (watched: string) =>
      api.ask({ method: 'PATCH', path: `${all}/w`, body: { metadata: { labels: { watched } } }, type: MERGE });
    await api.ask({ method: 'PATCH', path: `${all}/w`, body: { data: { a: '2' } }, type: MERGE });
    await relabel('no');
    await relabel('yes');
    await api.ask({ method: 'DELETE', path: `${all}/w` });
  };
  const version = list.metadata.resourceVersion;
  const bookmarks = 'allowWatchBookmarks=true';
  const initial = 'sendInitialEvents=true';
  const never = () => false;
  await Promise.all([
    say('watch what is changed', api.watch(from(`${bookmarks}&resourceVersion=${version}`), never, change)),
    say(
      'watch from a version that is forgotten',
      api.watch(`${young}?watch=1&resourceVersion=1`, (events) => events.length > 0),
    ),
    say(
      'watch from nonsense',
      api.watch(`${all}?watch=1&resourceVersion=x`, (events) => events.length > 0),
    ),
    say(
      'watch what is there',
      api.watch(`${all}?watch=1&fieldSelector=metadata.name%3Dl1`, (events) => events.length > 0),
    ),
    say(
      'watch with a list before it',
      api.watch(
        `${all}?watch=1&fieldSelector=metadata.name%3Dl1&${bookmarks}&${initial}&resourceVersionMatch=NotOlderThan`,
        (events) => events.length > 1,
      ),
    ),
    say(
      'watch with a list before it, said badly',
      api.watch(`${all}?watch=1&${initial}`, (events) => events.length > 0),
    ),
  ]);
}
