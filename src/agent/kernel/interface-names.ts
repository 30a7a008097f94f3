export interface NamedInterface {
  name: string;
  isOfPod: boolean;
}

/** Names in one text. */
const MOST_IN_TEXT = 5;
/** Names beside it. */
const MOST_BESIDE = 100;

/** What a notice tells everybody of interfaces: the names of the node's own, and how many are pods'. */
export function interfacesText(all: readonly NamedInterface[]): string {
  const own = all.flatMap(({ name, isOfPod }) => (isOfPod ? [] : name)).sort();
  const podCount = all.length - own.length;
  const more = own.length - MOST_IN_TEXT;
  return [
    ...(own.length > 0 ? [own.slice(0, MOST_IN_TEXT).join(', ')] : []),
    ...(more > 0 ? [`${more} more`] : []),
    ...(podCount > 0 ? [podCount === 1 ? "1 pod's interface" : `${podCount} pods' interfaces`] : []),
  ].join(' and ');
}

/** The names of pods' interfaces, which some pod networks make out of the pods': for who may see all pods. */
export function podInterfaces(all: readonly NamedInterface[]): { interfaces?: string[] } {
  const names = all.flatMap(({ name, isOfPod }) => (isOfPod ? name : [])).sort();
  return names.length === 0 ? {} : { interfaces: names.slice(0, MOST_BESIDE) };
}
