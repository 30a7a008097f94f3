const VERSION = [/^(build|compiler|emulation|git|goVersion|minCompatibility)/];
/** Which resources there are, and what else there is to know of one. */
const RESOURCES = [/^resources\[\]/];

/**
 * By request, or for all of them: what the real server says and the lab's does not, because nobody of ours reads it. Whatever else
 * differs makes the contract test fail.
 */
export const LEFT_OUT: Readonly<Record<string, readonly RegExp[]>> = {
  // Owners of fields by other ways than server-side apply.
  '*': [/metadata\.managedFields/],
  'get /version': VERSION,
  'get the version without a token': VERSION,
  'get /api/v1': RESOURCES,
  'get /apis/apps/v1': RESOURCES,
  'list pods of a node': [/^items\[\]\./],
  'list /api/v1/services': [/^items\[\]\./],
  'list /api/v1/nodes': [/^items\[\]\./],
  'list /apis/discovery.k8s.io/v1/endpointslices': [/^items\[\]\./],
};

/** Lists of what each cluster has of its own: what the lab's objects say, the real ones say in the same places by the same types. */
export const OF_THE_CLUSTER: ReadonlySet<string> = new Set(Object.keys(LEFT_OUT).filter((name) => name.startsWith('list ')));

/** Requests whose refusal is told in words of the language the server is written in: there it counts that there is a message. */
export const OWN_WORDS: ReadonlySet<string> = new Set([
  'create another kind',
  'create what is no JSON',
  'forward a bad port',
  'list by a bad label selector',
  'list on from nonsense',
  'watch from nonsense',
]);
